//! The disk that a path is on: how much room it has, and whether it is of this machine.

use std::io;
use std::path::Path;

use nix::sys::statfs::{FsType, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs};

/// CIFS and SMB 2, which the library does not name.
const CIFS: i64 = 0xff53_4d42;
const SMB2: i64 = 0xfe53_4d42;

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that this user may still write; `None`: the file system does not tell.
    pub free: Option<u64>,
    /// Its kind, if it is on another machine: locks and syncs are not those of a local disk there.
    pub network: Option<&'static str>,
}

impl Disk {
    /// That of a path that is there.
    pub fn of(path: &Path) -> io::Result<Disk> {
        let found = statfs(path)?;
        let block = u64::try_from(found.block_size()).unwrap_or(0);
        let free = (found.blocks() > 0).then(|| found.blocks_available().saturating_mul(block));
        Ok(Disk { free, network: network(found.filesystem_type()) })
    }
}

fn network(kind: FsType) -> Option<&'static str> {
    match kind {
        NFS_SUPER_MAGIC => Some("NFS"),
        SMB_SUPER_MAGIC | FsType(CIFS | SMB2) => Some("SMB"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_disk_has_room_and_nfs_is_none() {
        let disk = Disk::of(Path::new("/proc/self/exe").parent().expect("it has one")).expect("it is there");
        assert_eq!(disk.network, None);
        let here = Disk::of(&std::env::current_dir().expect("there is one")).expect("it is there");
        assert!(here.free.is_none_or(|free| free > 0));
        assert_eq!((network(NFS_SUPER_MAGIC), network(FsType(SMB2))), (Some("NFS"), Some("SMB")));
        assert!(Disk::of(Path::new("/nowhere/at/all")).is_err());
    }
}
