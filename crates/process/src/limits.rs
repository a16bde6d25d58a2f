//! Limits of the system that are better met before anything runs than in the middle: descriptors and processes.

use std::{fs, io};

use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;

/// A limit that is too low, or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// Too few descriptors.
    #[error(
        "{needed} open descriptors are needed and {limit} are allowed; raise the hard limit (ulimit -Hn {needed}) or use fewer workers"
    )]
    Descriptors {
        /// How many are needed.
        needed: u64,
        /// The limit.
        limit: u64,
    },
    /// Too few processes and threads.
    #[error("{needed} processes and threads are needed and {allowed} are allowed by {by}; raise it or use fewer workers")]
    Processes {
        /// How many are needed.
        needed: u64,
        /// How many there may be.
        allowed: u64,
        /// What allows no more.
        by: String,
    },
    /// The system did not answer.
    #[error("a limit could not be read or set: {}", .0.desc())]
    System(#[source] Errno),
}

/// Raises the soft limit on open descriptors to the hard one and returns it. Do it before the first child, which
/// inherits it.
pub fn raise_descriptor_limit() -> Result<u64, LimitError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(LimitError::System)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(LimitError::System)?;
    }
    Ok(hard)
}

/// How many descriptors this process may have open.
pub fn descriptor_limit() -> Result<u64, LimitError> {
    getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, _)| soft).map_err(LimitError::System)
}

/// From now on neither this process nor its children leave a core file: it would hold secrets.
pub fn forbid_core_files() -> Result<(), LimitError> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(LimitError::System)
}

/// An error unless this process may have `needed` descriptors open, the ones it has included.
pub fn require_descriptors(needed: u64) -> Result<(), LimitError> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(LimitError::System)?;
    if needed <= limit { Ok(()) } else { Err(LimitError::Descriptors { needed, limit }) }
}

/// An error when `needed` more processes and threads are certain not to be allowed, by the user's limit (which does not
/// bind root) or by the cgroup (version 2). Other processes of the user can still take what is there now.
pub fn require_processes(needed: u64) -> Result<(), LimitError> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NPROC).map_err(LimitError::System)?;
    if limit != RLIM_INFINITY && needed > limit && !geteuid().is_root() {
        return Err(LimitError::Processes { needed, allowed: limit, by: "ulimit -u (RLIMIT_NPROC)".to_owned() });
    }
    let Ok(own) = fs::read_to_string("/proc/self/cgroup") else { return Ok(()) };
    for group in cgroups(&own) {
        let file = format!("/sys/fs/cgroup{group}/pids.max");
        let Ok(Some(limit)) = cgroup_limit(&file) else { continue };
        let used = fs::read_to_string(format!("/sys/fs/cgroup{group}/pids.current")).ok();
        let used: u64 = used.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let allowed = limit.saturating_sub(used);
        if needed > allowed {
            return Err(LimitError::Processes { needed, allowed, by: file });
        }
    }
    Ok(())
}

/// The cgroup (version 2) of a /proc/self/cgroup and its ancestors: a limit of any of them binds.
fn cgroups(own: &str) -> Vec<&str> {
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::")) else { return Vec::new() };
    let mut groups = Vec::new();
    let mut path = path.trim_end_matches('/');
    while !path.is_empty() {
        groups.push(path);
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    groups
}

/// What this process and its children may use of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes.
    pub bytes: u64,
    /// What allows no more.
    pub by: String,
}

/// The least of the machine's memory that is free or can be freed, and of the limits of the cgroup (version 2, or 1)
/// and its ancestors. `None`: the system does not tell.
pub fn memory_limit() -> Option<MemoryLimit> {
    let free = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let free = free.map(|bytes| MemoryLimit { bytes, by: "the machine's free memory".to_owned() });
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let files = cgroups(&own).into_iter().map(|group| format!("/sys/fs/cgroup{group}/memory.max"));
    let files = files.chain(["/sys/fs/cgroup/memory.max".into(), "/sys/fs/cgroup/memory/memory.limit_in_bytes".into()]);
    let limits = files.filter_map(|by| Some(MemoryLimit { bytes: cgroup_limit(&by).ok()??, by }));
    limits.chain(free).min_by_key(|limit| limit.bytes)
}

/// `MemAvailable` of a /proc/meminfo.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// `None` when the file says "max".
fn cgroup_limit(file: &str) -> io::Result<Option<u64>> {
    Ok(fs::read_to_string(file)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::{Resource, getrlimit};

    use super::{
        LimitError, available, cgroups, forbid_core_files, memory_limit, raise_descriptor_limit, require_descriptors,
        require_processes,
    };

    #[test]
    fn the_message_says_the_number_needed() {
        let limit = raise_descriptor_limit().unwrap();
        require_descriptors(limit).unwrap();
        if limit < u64::MAX {
            let error = require_descriptors(limit + 1).unwrap_err();
            assert!(matches!(error, LimitError::Descriptors { needed, .. } if needed == limit + 1));
            assert!(error.to_string().starts_with(&format!("{} open descriptors are needed", limit + 1)), "{error}");
        }
        require_processes(1).unwrap();
    }

    #[test]
    fn no_core_file_is_left() {
        forbid_core_files().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_CORE), Ok((0, 0)));
    }

    #[test]
    fn a_cgroup_and_its_ancestors() {
        assert_eq!(cgroups("12:cpu:/x\n0::/a/b/c\n"), vec!["/a/b/c", "/a/b", "/a"]);
        assert_eq!(cgroups("0::/\n"), Vec::<&str>::new());
        assert_eq!(cgroups(""), Vec::<&str>::new());
    }

    #[test]
    fn memory_is_what_the_kernel_calls_available_or_less() {
        assert_eq!(available("MemTotal:  100 kB\nMemAvailable:    7 kB\n"), Some(7 * 1024));
        assert_eq!(available("MemTotal: 1 kB"), None);
        assert!(memory_limit().is_some_and(|limit| limit.bytes > 0 && !limit.by.is_empty()));
    }
}
