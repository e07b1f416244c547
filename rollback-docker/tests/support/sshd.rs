//! A real sshd on the loopback address, with a key of its own and one for who may come.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rollback_testkit::service::unavailable;

use super::free_port;

pub struct Sshd {
    pub port: u16,
    /// With the client's `config`, one that knows another host's key (`stranger`), and one with a key
    /// that nobody knows (`no-key`).
    pub dir: PathBuf,
    child: Child,
}

impl Sshd {
    /// Starts one in whose sessions docker's client talks to this socket.
    pub fn start(dir: &Path, socket: &Path) -> Option<Self> {
        let sshd = Path::new("/usr/sbin/sshd");
        if !sshd.is_file() {
            unavailable("sshd is not installed");
            return None;
        }
        fs::create_dir_all(dir).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        for name in ["host", "strange-host", "key", "strange-key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(dir.join(name))
                .status();
            assert!(made.unwrap().success());
        }
        fs::copy(dir.join("key.pub"), dir.join("authorized")).unwrap();
        let (port, at) = (free_port(), dir.display());
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {at}/host\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
             AuthorizedKeysFile {at}/authorized\nMaxStartups 100\nSetEnv DOCKER_HOST=unix://{}\n",
            socket.display()
        );
        fs::write(dir.join("sshd_config"), config).unwrap();
        for (name, host, key) in [
            ("config", "host", "key"),
            ("stranger", "strange-host", "key"),
            ("no-key", "host", "strange-key"),
        ] {
            let host = fs::read_to_string(dir.join(format!("{host}.pub"))).unwrap();
            let known = dir.join(format!("{name}.known"));
            fs::write(&known, format!("[127.0.0.1]:{port} {host}")).unwrap();
            let client = format!(
                "Host *\nIdentityFile {at}/{key}\nIdentitiesOnly yes\nIdentityAgent none\n\
                 StrictHostKeyChecking yes\nUserKnownHostsFile {}\nGlobalKnownHostsFile none\n",
                known.display()
            );
            fs::write(dir.join(name), client).unwrap();
        }
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--"])
            .arg(sshd)
            .args(["-D", "-e", "-f"])
            .arg(dir.join("sshd_config"))
            .stdin(Stdio::null())
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "sshd does not come up: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self {
            port,
            dir: dir.to_owned(),
            child,
        })
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
