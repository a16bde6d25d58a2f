//! A Unix socket with a name in a private folder: how other processes of the same user reach this one. What is said
//! over it is the caller's.
//!
//! A socket's address holds at most 107 bytes of path, and folders may be longer: so both ends open the folder first
//! and name the socket through it, as `/proc/self/fd/N/NAME`, which always fits. The name appears when the socket is
//! ready, with mode 0600 from its first moment, and replaces what an earlier process left there: who may do so is the
//! caller's to decide (a lock).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};

/// How often a busy listener is asked again.
const RETRY: Duration = Duration::from_millis(10);

/// A socket that takes connections, until it is dropped.
#[derive(Debug)]
pub struct LocalListener {
    socket: UnixListener,
    folder: File,
    name: String,
    /// Which file is ours: device and inode.
    id: (u64, u64),
}

/// One end of a connection; neither reads nor writes block.
#[derive(Debug)]
pub struct LocalStream(UnixStream);

impl LocalListener {
    /// Listens at `folder/name` with room for `backlog` connections that are not yet accepted. What was there before is
    /// replaced.
    pub fn bind(folder: &Path, name: &str, backlog: i32) -> io::Result<LocalListener> {
        let folder = open_folder(folder)?;
        let new = format!("{name}.new");
        ignore_missing(fs::remove_file(beneath(&folder, &new)))?;
        let socket = new_socket()?;
        // The file gets the mode of the socket, less the umask.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(&beneath(&folder, &new))?)?;
        listen(&socket, Backlog::new(backlog)?)?;
        let metadata = fs::symlink_metadata(beneath(&folder, &new))?;
        fs::rename(beneath(&folder, &new), beneath(&folder, name))?;
        Ok(LocalListener { socket: socket.into(), folder, name: name.to_owned(), id: (metadata.dev(), metadata.ino()) })
    }

    /// The next connection, or `None` if none waits.
    pub fn accept(&self) -> io::Result<Option<LocalStream>> {
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    return Ok(Some(LocalStream(stream)));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // The client has gone again.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl AsFd for LocalListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for LocalListener {
    /// Takes the name away, unless another process has taken it over.
    fn drop(&mut self) {
        let path = beneath(&self.folder, &self.name);
        if fs::symlink_metadata(&path).is_ok_and(|found| (found.dev(), found.ino()) == self.id) {
            // A name that stays leads nowhere, and the next listener replaces it.
            drop(fs::remove_file(path));
        }
    }
}

impl LocalStream {
    /// Connects to the listener at `folder/name`, waiting at most `patience` while it has more connections than it
    /// takes.
    pub fn connect(folder: &Path, name: &str, patience: Duration) -> io::Result<LocalStream> {
        let folder = open_folder(folder)?;
        let address = UnixAddr::new(&beneath(&folder, name))?;
        let deadline = Instant::now() + patience;
        let socket = new_socket()?;
        loop {
            match connect(socket.as_raw_fd(), &address) {
                Ok(()) => return Ok(LocalStream(socket.into())),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if Instant::now() < deadline => std::thread::sleep(RETRY),
                Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The user on whose behalf the other end was made.
    pub fn peer_user(&self) -> io::Result<u32> {
        Ok(getsockopt(&self.0, sockopt::PeerCredentials)?.uid())
    }
}

impl AsFd for LocalStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The user on whose behalf this process acts.
pub fn own_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Unix, SockType::Stream, flags, None)?)
}

fn open_folder(folder: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits()).open(folder)
}

fn beneath(folder: &File, name: &str) -> PathBuf {
    format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()).into()
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::{Filled, Flushed, FrameReader, FrameWriter, Interest, poll};

    /// A folder whose path no socket's address can hold.
    struct Folder(TempDir);

    impl Folder {
        fn new() -> Folder {
            let folder = Folder(tempfile::tempdir().unwrap());
            fs::create_dir(folder.path()).unwrap();
            folder
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("d".repeat(120))
        }
    }

    fn connect(folder: &Folder) -> io::Result<LocalStream> {
        LocalStream::connect(&folder.path(), "it.sock", Duration::from_millis(200))
    }

    #[test]
    fn frames_go_both_ways_under_a_long_path() {
        let folder = Folder::new();
        let listener = LocalListener::bind(&folder.path(), "it.sock", 4).unwrap();
        let mode = fs::metadata(folder.path().join("it.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(listener.accept().unwrap().is_none(), "no client is there yet");
        let client = connect(&folder).unwrap();
        assert_eq!(poll(&[((), listener.as_fd(), Interest::Read)], Some(Duration::ZERO)).unwrap().len(), 1);
        let server = listener.accept().unwrap().unwrap();
        assert_eq!(server.peer_user().unwrap(), own_user());
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (mut writer, mut reader) = (FrameWriter::new(), FrameReader::new());
            assert_eq!(reader.fill(to).unwrap(), Filled::WouldBlock);
            writer.queue(7, b"hello").unwrap();
            assert_eq!(writer.flush(from).unwrap(), Flushed::Done);
            reader.fill(to).unwrap();
            assert_eq!(reader.next_frame().unwrap(), Some((7, &b"hello"[..])));
        }
        drop(server);
        assert_eq!(FrameReader::new().fill(&client).unwrap(), Filled::Eof);
    }

    #[test]
    fn a_name_that_leads_nowhere_is_replaced_and_the_last_one_is_taken_away() {
        let folder = Folder::new();
        let path = folder.path().join("it.sock");
        assert_eq!(connect(&folder).unwrap_err().kind(), io::ErrorKind::NotFound);
        // As a killed process leaves it: the name stays, and nothing listens.
        let first = LocalListener::bind(&folder.path(), "it.sock", 4).unwrap();
        fs::hard_link(&path, folder.path().join("kept")).unwrap();
        drop(first);
        fs::rename(folder.path().join("kept"), &path).unwrap();
        assert_eq!(connect(&folder).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let second = LocalListener::bind(&folder.path(), "it.sock", 4).unwrap();
        let third = LocalListener::bind(&folder.path(), "it.sock", 4).unwrap();
        drop(second);
        connect(&folder).unwrap();
        drop(third);
        assert!(!path.exists(), "the one that owns the name takes it away");
    }

    #[test]
    fn a_full_listener_is_not_waited_for_longer_than_asked() {
        let folder = Folder::new();
        let listener = LocalListener::bind(&folder.path(), "it.sock", 2).unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match connect(&folder) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
            assert!(waiting.len() < 10, "a backlog of 2 takes a few, not all");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        listener.accept().unwrap().unwrap();
        connect(&folder).unwrap();
    }
}
