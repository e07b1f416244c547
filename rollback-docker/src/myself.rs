//! [`Myself`]: the container that this very process runs in, if it runs in one.

use std::fs;

use rollback_core::error::{BackendError, BackendErrorKind};

use crate::marks::is_id;
use crate::summary::Summary;

/// What the kernel says of where this process runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Myself {
    /// Ids of containers that this process may be in.
    ids: Vec<String>,
    /// The host's name. Unless asked otherwise, Docker names a container's host after its id.
    hostname: String,
}

impl Myself {
    /// Looks. What cannot be read says nothing.
    pub(crate) fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::parse(
            &read("/proc/self/mountinfo"),
            &read("/proc/self/cgroup"),
            &read("/proc/sys/kernel/hostname"),
        )
    }

    /// Docker mounts a container's `hosts`, `hostname` and `resolv.conf` from the directory that
    /// bears its id; only what is mounted there counts, since on the host other containers' mounts
    /// are seen, too. With cgroups of version 1 their paths tell as well.
    fn parse(mountinfo: &str, cgroup: &str, hostname: &str) -> Self {
        let files = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
        let mounts = mountinfo.lines().filter_map(|line| {
            let mut fields = line.split(' ').skip(3);
            let (root, at) = (fields.next()?, fields.next()?);
            files.contains(&at).then_some(root)
        });
        let groups = cgroup.lines().filter_map(|line| line.rsplit(':').next());
        let parts = mounts.chain(groups).flat_map(|path| path.split('/'));
        let mut ids: Vec<String> = parts
            .map(|part| {
                part.trim_start_matches("docker-")
                    .trim_end_matches(".scope")
            })
            .filter(|part| is_id(part))
            .map(str::to_owned)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        Self {
            ids,
            hostname: hostname.trim().to_owned(),
        }
    }

    fn is(&self, id: &str) -> bool {
        let short = self.hostname.len() == 12 && id.starts_with(&self.hostname);
        short || self.ids.iter().any(|own| own == id)
    }

    /// Refuses to stop the container that this process runs in: nobody would be left to start the
    /// next one.
    pub(crate) fn spare(&self, container: &Summary) -> Result<(), BackendError> {
        if !self.is(&container.id) {
            return Ok(());
        }
        Err(BackendError::new(
            BackendErrorKind::Unsupported,
            "this program runs in the container that is to be stopped, and would stop with it \
             before anything else is started",
        )
        .on(&container.name)
        .advice("run the deploying program on the host or in a container of its own"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_from_inside_and_those_of_others_are_not_from_outside() {
        let id = "4d188d00b4f80af310a5c87e2f00efbf71f86398a5fa9b728fdc3a0e98fd4f4d";
        let inside = format!(
            "709 690 254:1 /var/lib/docker/containers/{id}/hosts /etc/hosts rw,relatime - ext4 /dev/a rw"
        );
        let outside = format!(
            "99 28 0:52 / /var/lib/docker/containers/{id}/mounts/shm rw,nosuid - tmpfs shm rw"
        );
        assert!(Myself::parse(&inside, "0::/", "web\n").is(id));
        assert!(!Myself::parse(&outside, "0::/", "web\n").is(id));
        for cgroup in [
            format!("9:pids:/docker/{id}"),
            format!("0::/system.slice/docker-{id}.scope"),
        ] {
            assert!(Myself::parse("", &cgroup, "web\n").is(id), "{cgroup}");
        }
        assert!(Myself::parse("", "0::/", "4d188d00b4f8\n").is(id));
        assert!(!Myself::parse("", "0::/", "4d188d00b4f9\n").is(id));
        assert!(!Myself::parse("", "0::/", "\n").is(id));
    }
}
