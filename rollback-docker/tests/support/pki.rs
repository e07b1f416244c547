//! Certificates of a test: two CAs, and who has one of theirs.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Purpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rollback_docker::Certificates;

pub struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// `ca`, `server` and `client`; `stale` and `expired`, which are the same and no longer valid;
    /// `other-ca` and `other-client`.
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let own = Self {
            dir: dir.to_owned(),
        };
        for (ca, members) in [
            ("ca", &["server", "stale", "client", "expired"][..]),
            ("other-ca", &["other-client"]),
        ] {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let cert = params.self_signed(&key).unwrap();
            own.write(ca, &cert.pem(), &key);
            let issuer = Issuer::new(params, key);
            for name in members {
                let is_server = ["server", "stale"].contains(name);
                let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
                params.extended_key_usages = vec![match is_server {
                    true => Purpose::ServerAuth,
                    false => Purpose::ClientAuth,
                }];
                if ["stale", "expired"].contains(name) {
                    params.not_before = date_time_ymd(2001, 1, 1);
                    params.not_after = date_time_ymd(2002, 1, 1);
                }
                let key = KeyPair::generate().unwrap();
                let cert = params.signed_by(&key, &issuer).unwrap();
                own.write(name, &cert.pem(), &key);
            }
        }
        own
    }

    pub fn path(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }

    pub fn certificates(&self, ca: &str, cert: &str) -> Certificates {
        let file = |name: String| self.dir.join(name);
        Certificates::new(
            file(format!("{ca}.pem")),
            file(format!("{cert}.pem")),
            file(format!("{cert}-key.pem")),
        )
    }

    fn write(&self, name: &str, cert: &str, key: &KeyPair) {
        fs::write(self.path(&format!("{name}.pem")), cert).unwrap();
        fs::write(self.path(&format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    }
}
