//! A real terminal: a program in a tmux window of a known size, typed into and looked at.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::temporary::TempDir;
use crate::waiting::wait_until;

/// Whether tmux is installed.
pub fn is_available() -> bool {
    Command::new("tmux").arg("-V").output().is_ok_and(|output| output.status.success())
}

/// A tmux server of its own with one window; dropping it ends both.
pub struct Terminal {
    folder: TempDir,
}

impl Terminal {
    /// Runs a command (its environment, folder and arguments) in a window of some columns and rows, as the foreground
    /// job of a shell, so that Ctrl-C reaches its whole process group.
    pub fn start(command: &Command, columns: u32, rows: u32) -> Self {
        let folder = TempDir::new("terminal");
        let script = folder.join("command");
        let code = folder.join("code");
        // The shell ignores what Ctrl-C sends, or it would end before it could write the code.
        let text =
            format!("trap : INT\n{}\necho $? >{1}.part\nmv {1}.part {1}\nsleep 1000000\n", shell_words(command), quoted(&code));
        fs::write(&script, text).expect("a file can be written in a new folder");
        let terminal = Terminal { folder };
        let size = [columns.to_string(), rows.to_string()];
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &size[0],
            "-y",
            &size[1],
            &format!("bash {}", quoted(&script)),
        ]);
        terminal
    }

    /// What the window shows now, without trailing blanks.
    pub fn screen(&self) -> String {
        let output = self.tmux(&["capture-pane", "-p"]);
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Types keys by tmux's names, such as `C-c` or `Enter`.
    pub fn press(&self, keys: &str) {
        self.tmux(&["send-keys", keys]);
    }

    /// The exit code, once the command has ended; panics with the screen after `limit`.
    pub fn exit_code(&self, limit: Duration) -> i32 {
        let code = self.folder.join("code");
        wait_until("the program in the terminal ends", limit, || code.exists());
        let text = fs::read_to_string(code).expect("the file is complete when it has its name");
        text.trim().parse().expect("the shell writes a number")
    }

    fn tmux(&self, words: &[&str]) -> Output {
        let output = self.command(words).output().expect("tmux can be started");
        assert!(output.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.folder.join("socket")).args(words).env_remove("TMUX");
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It fails only if the server has gone already.
        let _ = self.command(&["kill-server"]).output();
    }
}

/// A line for a shell: folder, environment and words of a command.
fn shell_words(command: &Command) -> String {
    let mut line = String::new();
    if let Some(folder) = command.get_current_dir() {
        line += &format!("cd {}\n", quoted(folder));
    }
    for (name, value) in command.get_envs() {
        let name = name.to_string_lossy();
        match value {
            Some(value) => line += &format!("export {name}={}\n", quoted(Path::new(value))),
            None => line += &format!("unset {name}\n"),
        }
    }
    // A job of its own, in the foreground: the terminal's signals go to its process group.
    line += "set -m\n";
    line += &quoted(Path::new(command.get_program()));
    for word in command.get_args() {
        line += " ";
        line += &quoted(&PathBuf::from(word));
    }
    line
}

fn quoted(text: &Path) -> String {
    format!("'{}'", text.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_seen_and_interrupted() {
        if !is_available() {
            println!("skipped: needs tmux; scripts/setup --tests installs it");
            assert!(std::env::var_os("SHARDLIFT_REQUIRE_KAFKA").is_none_or(|value| value != "1"), "CI must not skip");
            return;
        }
        let mut command = Command::new("bash");
        command
            .env("WORD", "it's here")
            .args(["-c", r#"trap 'exit 75' INT; echo "$WORD: $(tput cols)"; while :; do sleep 0.1; done"#]);
        let terminal = Terminal::start(&command, 44, 10);
        wait_until("the word is shown", Duration::from_secs(10), || terminal.screen().contains("it's here: 44"));
        terminal.press("C-c");
        assert_eq!(terminal.exit_code(Duration::from_secs(10)), 75);
    }
}
