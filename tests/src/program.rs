//! shardlift as a user starts it: in a folder of its own, with a temporary folder of its own, in a process group of its
//! own; and the proof that no process and no temporary file is left.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::temporary::TempDir;
use crate::waiting::{wait_child, wait_until};

/// Every process that a program starts inherits this variable, so that orphans are found too, whatever their parent is.
const MARK: &str = "WHOLE_PROGRAM_RUN";

/// How long a process that its parent's end ends may take on a busy machine. Where the product promises a time, the
/// test that judges it runs alone.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// The user and the group without any rights.
const STRANGER: u32 = 65534;

/// A place to run shardlift in.
pub struct Program {
    folder: TempDir,
    mark: String,
    runs: AtomicU32,
}

/// A run that goes on.
pub struct Running {
    child: Child,
    started: Instant,
    mark: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// A run that ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; 128 + signal for a killed one, as a shell says it.
    pub code: i32,
    /// What it printed as its result.
    pub stdout: String,
    /// What else it said.
    pub stderr: String,
    /// From start to exit.
    pub elapsed: Duration,
}

/// A process of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent's id.
    pub parent: u32,
    /// Its name as `ps` shows it; a worker's names its shard.
    pub name: String,
    /// Its state letter, Z for a zombie.
    pub state: char,
}

impl Program {
    /// With a new, empty folder.
    pub fn new(what: &str) -> Self {
        let folder = TempDir::new(what);
        fs::create_dir(folder.join("tmp")).expect("a folder can be made in a new folder");
        let mark = folder.path().display().to_string();
        Program { folder, mark, runs: AtomicU32::new(0) }
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps the folder after its owner is gone, for who looks for the cause of something; says where it is.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.keep();
        self.folder.path().to_path_buf()
    }

    /// A path in that folder.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file in that folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        let parent = path.parent().expect("a file in the folder has a parent");
        fs::create_dir_all(parent).expect("a folder can be made");
        fs::write(&path, content).unwrap_or_else(|error| panic!("can't write {}: {error}", path.display()));
        path
    }

    /// The command for some arguments: no `SHARDLIFT_…` of the caller's, output not yet redirected.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.other_command(binary());
        command.args(words);
        command
    }

    /// The same as a user who has no rights here; only root can start it. It runs a copy of the program that each user
    /// may read: a checkout may lie below a folder that is closed to others.
    pub fn command_of_a_stranger(&self, words: &[&str]) -> Command {
        let copy = self.join("stranger/shardlift");
        let folder = copy.parent().expect("a copy is in a folder");
        if !copy.exists() {
            fs::create_dir(folder).expect("a folder can be made");
            // Not by ourselves: another test's fork could hold our copy open for writing, and what is written to can't
            // be started.
            let copied = Command::new("cp").arg(binary()).arg(&copy).status();
            assert!(copied.is_ok_and(|status| status.success()), "the program can be copied");
        }
        for path in [self.folder(), folder, &copy] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
        }
        let mut command = self.other_command(&copy);
        command.args(words).uid(STRANGER).gid(STRANGER);
        command
    }

    /// A shell in the same place that finds `shardlift` on its path and runs one line of a user's.
    pub fn shell(&self, line: &str) -> Command {
        let mut folders = vec![binary().parent().expect("a program is in a folder").to_path_buf()];
        folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut command = self.other_command("sh");
        command.args(["-c", line]).env("PATH", std::env::join_paths(folders).expect("folders without a colon"));
        command
    }

    /// Another program in the same place, such as a shell that starts shardlift.
    pub fn other_command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SHARDLIFT_")) {
            command.env_remove(name);
        }
        command.current_dir(self.folder()).stdin(Stdio::null());
        command.env("TMPDIR", self.join("tmp")).env(MARK, &self.mark).process_group(0);
        command
    }

    /// Starts it. Both outputs go to files, so that no pipe can fill up.
    pub fn start(&self, words: &[&str]) -> Running {
        self.spawn(self.command(words))
    }

    /// Starts a command made by [`Program::command`].
    pub fn spawn(&self, mut command: Command) -> Running {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let (stdout, stderr) = (self.join(format!("stdout-{run}")), self.join(format!("stderr-{run}")));
        let create =
            |path: &Path| File::create(path).unwrap_or_else(|error| panic!("can't create {}: {error}", path.display()));
        command.stdout(create(&stdout)).stderr(create(&stderr));
        let started = Instant::now();
        let child = command.spawn().unwrap_or_else(|error| panic!("can't start {command:?}: {error}"));
        Running { child, started, mark: self.mark.clone(), stdout, stderr }
    }

    /// Runs it to its end; panics after `limit`.
    pub fn run(&self, words: &[&str], limit: Duration) -> Finished {
        self.start(words).finish(limit)
    }

    /// All processes that were ever started here and still exist.
    pub fn processes(&self) -> Vec<Process> {
        marked(&self.mark)
    }

    /// Ends all of them at once.
    pub fn end_all(&self) {
        for process in self.processes() {
            let _ = kill(pid(process.pid), Signal::SIGKILL);
        }
    }

    /// Waits until no process is left; then the temporary folder has to be empty.
    pub fn assert_nothing_left(&self) {
        let deadline = Instant::now() + GONE_WITHIN;
        let mut left = self.processes();
        while !left.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            left = self.processes();
        }
        assert!(left.is_empty(), "processes are left {GONE_WITHIN:?} after the end: {left:?}");
        let files: Vec<PathBuf> =
            fs::read_dir(self.join("tmp")).expect("our folder is there").map(|entry| entry.expect("readable").path()).collect();
        assert!(files.is_empty(), "temporary files are left: {files:?}");
    }
}

impl Drop for Program {
    /// A failed test must not leave its processes to the next one.
    fn drop(&mut self) {
        self.end_all();
    }
}

impl Running {
    /// The supervisor's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it started.
    pub fn began(&self) -> Instant {
        self.started
    }

    /// How long ago it started.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What it printed as its result so far.
    pub fn stdout(&self) -> String {
        read_text(&self.stdout)
    }

    /// What it said so far.
    pub fn stderr(&self) -> String {
        read_text(&self.stderr)
    }

    /// Sends a signal to the supervisor alone.
    pub fn signal(&self, signal: Signal) {
        kill(pid(self.pid()), signal).expect("the supervisor was not waited for yet");
    }

    /// Sends a signal to its whole process group, as a terminal does.
    pub fn signal_group(&self, signal: Signal) {
        killpg(pid(self.pid()), signal).expect("the supervisor was not waited for yet");
    }

    /// Its forked processes, zombies too.
    pub fn children(&self) -> Vec<Process> {
        let listed = children_of(self.pid());
        listed.unwrap_or_else(|| all_processes().into_iter().filter(|process| process.parent == self.pid()).collect())
    }

    /// All processes of this place, this run's and those that an earlier one left.
    pub fn processes(&self) -> Vec<Process> {
        marked(&self.mark)
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours can be waited for").is_none()
    }

    /// Waits for its end; kills the whole group and panics after `limit`.
    pub fn finish(mut self, limit: Duration) -> Finished {
        let Some(status) = wait_child(&mut self.child, limit) else {
            let _ = killpg(pid(self.pid()), Signal::SIGKILL);
            let _ = self.child.wait();
            panic!("it did not end within {limit:?}; stderr:\n{}", self.stderr());
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Finished { code, stdout: read_text(&self.stdout), stderr: self.stderr(), elapsed: self.started.elapsed() }
    }
}

impl Finished {
    /// Its result as JSON (`-o json`).
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is no JSON ({error}): {:?}\nstderr:\n{}", self.stdout, self.stderr))
    }

    /// A number of the JSON result by its path, such as `/records/acknowledged`.
    pub fn number(&self, pointer: &str) -> u64 {
        let json = self.json();
        json.pointer(pointer)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or_else(|| panic!("no number at {pointer} in {json:#}"))
    }

    /// Panics with everything it said unless it ended with this code.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code; stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// The program under test: `SHARDLIFT_BIN`, or built once by cargo.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("SHARDLIFT_BIN") {
            return PathBuf::from(path);
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status =
            Command::new(cargo).args(["build", "--release", "--quiet", "-p", "cli"]).current_dir(crate::root()).status();
        assert!(status.expect("cargo can be started").success(), "cargo build -p cli failed");
        // This test is target/release/deps/NAME-HASH, wherever the target folder is.
        let own = std::env::current_exe().expect("the test knows its own path");
        let release = own.parent().and_then(Path::parent).expect("a test is two levels below the target folder");
        release.join("shardlift")
    })
}

/// Waits until a process has gone or is a zombie.
pub fn wait_gone(process: u32, limit: Duration) -> Duration {
    wait_until("the process is gone", limit, || read_process(process).is_none_or(|found| found.state == 'Z'))
}

/// The state letter of a process; `None` = it has gone.
pub fn state_of(process: u32) -> Option<char> {
    read_process(process).map(|found| found.state)
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("process ids are below 2^22"))
}

fn read_text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("can't read {}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// As the kernel lists them: a look costs a few reads, so that a child that lives for a moment is seen. `None` = no
/// such list here.
fn children_of(parent: u32) -> Option<Vec<Process>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{parent}/task")).ok()? {
        let Ok(list) = fs::read_to_string(thread.ok()?.path().join("children")) else { return None };
        children.extend(list.split_whitespace().filter_map(|pid| read_process(pid.parse().ok()?)));
    }
    Some(children)
}

fn all_processes() -> Vec<Process> {
    let ids = fs::read_dir("/proc").expect("/proc is there").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter_map(read_process).collect()
}

/// Processes whose environment at their start had the mark. A zombie has no environment any more.
fn marked(mark: &str) -> Vec<Process> {
    let wanted = format!("{MARK}={mark}");
    let has_mark = |process: &Process| {
        fs::read(format!("/proc/{}/environ", process.pid))
            .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()))
    };
    all_processes().into_iter().filter(has_mark).collect()
}

/// `None` = it has gone.
fn read_process(pid: u32) -> Option<Process> {
    // "PID (NAME) STATE PARENT …"; a name may hold spaces and parentheses.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut words = tail.split_whitespace();
    let state = words.next()?.chars().next()?;
    let parent = words.next()?.parse().ok()?;
    Some(Process { pid, parent, name: name.to_owned(), state })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(program: &Program, text: &str) -> Finished {
        let mut command = program.other_command("bash");
        command.args(["-c", text]);
        program.spawn(command).finish(Duration::from_secs(10))
    }

    fn complains(program: &Program) -> bool {
        let judged = std::panic::AssertUnwindSafe(|| program.assert_nothing_left());
        std::panic::catch_unwind(judged).is_err()
    }

    #[test]
    fn output_and_exit_codes_are_those_of_the_program() {
        let program = Program::new("codes");
        let finished = shell(&program, "echo '{\"a\":{\"b\":7}}'; echo no >&2; exit 75").expect_code(75);
        assert_eq!((finished.number("/a/b"), finished.stderr.as_str()), (7, "no\n"));
        assert_eq!(shell(&program, "kill -9 $$").code, 137);
        program.assert_nothing_left();
    }

    #[test]
    fn an_orphan_is_found() {
        let program = Program::new("orphan");
        shell(&program, "setsid sleep 1000 & exit 0").expect_code(0);
        let names = || program.processes().into_iter().map(|process| process.name).collect::<Vec<_>>();
        wait_until("the orphan has become what it shall be", Duration::from_secs(5), || names() == ["sleep"]);
        assert!(complains(&program));
        let orphan = program.processes()[0].pid;
        drop(program);
        wait_gone(orphan, Duration::from_secs(1));
    }

    #[test]
    fn a_temporary_file_is_found() {
        let program = Program::new("file");
        shell(&program, "mktemp").expect_code(0);
        assert!(complains(&program));
    }
}
