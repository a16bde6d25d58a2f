//! Folders and files that only this user writes to: opened without following links, and known again by device and
//! inode.
//!
//! Responsible for: that a name which another user put there leads nowhere, and for what speaks against trusting a
//! folder. Not responsible for: whether such a folder is used all the same.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, Uid, User, access, getegid, geteuid, getgroups};

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const ROOT: u32 = 0;

/// Which file or folder something is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }

    /// What has this name; a link is itself, not what it leads to.
    pub fn at(path: &Path) -> io::Result<FileId> {
        fs::symlink_metadata(path).map(|metadata| FileId::of(&metadata))
    }

    /// Which one is open.
    pub fn of_open(file: &File) -> io::Result<FileId> {
        file.metadata().map(|metadata| FileId::of(&metadata))
    }
}

/// A folder that stays open, so that it is known again.
#[derive(Debug)]
pub struct PrivateFolder {
    handle: File,
}

impl PrivateFolder {
    /// Opens a folder; a link to one is refused. One that belongs to this user gets the mode 0700.
    pub fn open(path: &Path) -> io::Result<PrivateFolder> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let handle =
            File::options().read(true).custom_flags(flags.bits()).open(path).map_err(|error| explained(path, error))?;
        let metadata = handle.metadata()?;
        if metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 != 0 {
            handle.set_permissions(Permissions::from_mode(0o700))?;
        }
        Ok(PrivateFolder { handle })
    }

    /// Which folder it is.
    pub fn id(&self) -> io::Result<FileId> {
        FileId::of_open(&self.handle)
    }

    /// Why what stands there can't be trusted: another user than this one and root owns it or may write there. A group
    /// may that is one of this user's, as on a volume that several containers share.
    pub fn objection(&self) -> io::Result<Option<String>> {
        objection_to(&self.handle.metadata()?)
    }
}

/// What [`PrivateFolder::objection`] would say of a folder, which is not changed; one of this user is made its own when
/// it is opened. `None` also if there is none.
pub fn folder_objection(path: &Path) -> io::Result<Option<String>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.uid() == geteuid().as_raw() => Ok(None),
        Ok(metadata) => objection_to(&metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whose it is if another user closed the way to `path` to this one: the owner of the first folder on it that this user
/// may not enter, or of what stands there.
pub fn closed_by(path: &Path) -> Option<String> {
    let ancestors: Vec<&Path> = path.ancestors().collect();
    // A folder on the way need not be listed to be passed.
    let closed =
        |at: &&&Path| access(**at, AccessFlags::X_OK).is_err() || **at == path && access(path, AccessFlags::R_OK).is_err();
    let metadata = fs::symlink_metadata(ancestors.iter().rev().find(closed)?).ok()?;
    let owner = Uid::from_raw(metadata.uid());
    let name = User::from_uid(owner).ok().flatten().map_or_else(|| "another user".to_owned(), |user| user.name);
    (owner != geteuid()).then(|| format!("{name} (number {owner})"))
}

/// Whether this user may write to a folder, or make one in it.
pub fn may_write(folder: &Path) -> io::Result<()> {
    Ok(access(folder, AccessFlags::W_OK | AccessFlags::X_OK)?)
}

fn objection_to(metadata: &Metadata) -> io::Result<Option<String>> {
    let mut groups: Vec<u32> = getgroups()?.into_iter().map(|group| group.as_raw()).collect();
    groups.push(getegid().as_raw());
    Ok(objection(metadata.uid(), metadata.gid(), metadata.mode(), geteuid().as_raw(), &groups))
}

fn objection(owner: u32, group: u32, mode: u32, us: u32, our_groups: &[u32]) -> Option<String> {
    if owner != us && owner != ROOT {
        return Some(format!("it belongs to another user (number {owner})"));
    }
    if mode & OTHERS_WRITE != 0 {
        return Some("every user may write there".to_owned());
    }
    let foreign = mode & GROUP_WRITES != 0 && !our_groups.contains(&group);
    foreign.then(|| format!("a group may write there that this user is not in (number {group})"))
}

/// Opens a file without following a link in its last name. It must be a file, with no second name, by which another
/// user could have it too. Nothing is cut off or written: the caller does that to what it got.
pub fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Opening a pipe must not wait for its other end.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = options.custom_flags(flags.bits()).open(path).map_err(|error| explained(path, error))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    if metadata.nlink() > 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a file with a second name (a hard link)"));
    }
    Ok(file)
}

/// The same below a folder that may not be a link either.
pub fn open_private_below(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    if let Some(folder) = path.parent()
        && fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_symlink())
    {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "its folder is a symbolic link, which is not followed"));
    }
    open_private(path, options)
}

fn explained(path: &Path, error: io::Error) -> io::Error {
    let link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    if link { io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link, which is not followed") } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_user_and_root_are_trusted_and_groups_of_this_user() {
        let (us, ours, other) = (1000, [1000, 2000], 1001);
        for (owner, group, mode, trusted) in [
            (us, 1000, 0o700, true),
            (ROOT, 0, 0o755, true),
            (ROOT, 2000, 0o2775, true),
            (us, 2000, 0o770, true),
            (other, 1000, 0o700, false),
            (ROOT, 3000, 0o775, false),
            (us, 3000, 0o770, false),
            (us, 1000, 0o707, false),
            (ROOT, 0, 0o1777, false),
        ] {
            assert_eq!(objection(owner, group, mode, us, &ours).is_none(), trusted, "{owner} {group} {mode:o}");
        }
        assert!(objection(us, 1000, 0o700, ROOT, &[0]).is_some(), "root does not trust every user either");
    }

    #[test]
    fn a_folder_of_ours_becomes_private_and_a_link_to_it_is_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let opened = PrivateFolder::open(folder.path()).unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(opened.objection().unwrap(), None);
        assert_eq!(opened.id().unwrap(), FileId::at(folder.path()).unwrap());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(PrivateFolder::open(&link).unwrap_err().to_string().contains("symbolic link"));
        assert_ne!(FileId::at(&link).unwrap(), opened.id().unwrap());
    }

    #[test]
    fn a_file_below_a_linked_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (theirs, link) = (folder.path().join("theirs"), folder.path().join("link"));
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join("x"), "precious").unwrap();
        std::os::unix::fs::symlink(&theirs, &link).unwrap();
        let open = |path: &Path| open_private_below(path, File::options().read(true).write(true).create(true));
        for name in ["x", "new"] {
            assert!(open(&link.join(name)).unwrap_err().to_string().contains("symbolic link"), "{name}");
        }
        assert!(!theirs.join("new").exists());
        assert!(open(&theirs.join("x")).is_ok());
        std::os::unix::fs::symlink(theirs.join("x"), theirs.join("y")).unwrap();
        assert!(open(&theirs.join("y")).unwrap_err().to_string().contains("symbolic link"));
    }

    #[test]
    fn links_and_what_is_no_file_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (theirs, name) = (folder.path().join("theirs"), folder.path().join("name"));
        fs::write(&theirs, "precious").unwrap();
        let open = |path: &Path| open_private(path, File::options().read(true).write(true).create(true));
        std::os::unix::fs::symlink(&theirs, &name).unwrap();
        assert!(open(&name).unwrap_err().to_string().contains("symbolic link"));
        fs::remove_file(&name).unwrap();
        std::os::unix::fs::symlink(folder.path().join("nothing"), &name).unwrap();
        assert!(open(&name).is_err() && !folder.path().join("nothing").exists(), "a link to nothing makes nothing");
        fs::remove_file(&name).unwrap();
        fs::hard_link(&theirs, &name).unwrap();
        assert!(open(&name).unwrap_err().to_string().contains("second name"));
        fs::remove_file(&name).unwrap();
        nix::unistd::mkfifo(&name, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open_private(&name, File::options().read(true)).unwrap_err().to_string().contains("not a file"));
        fs::remove_file(&name).unwrap();
        assert!(open(&name).is_ok());
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "precious");
    }
}
