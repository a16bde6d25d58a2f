//! What processes use (CPU, memory), the clock that all of them share, and what the machine offers.

use std::time::Duration;
use std::{fs, io};

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// CPU time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// In user mode.
    pub user_us: u64,
    /// In the kernel.
    pub system_us: u64,
}

impl Cpu {
    /// Both together.
    pub fn total_us(self) -> u64 {
        self.user_us + self.system_us
    }
}

/// Memory of this process in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The most it ever held (`VmHWM`). After a fork the child's peak starts at what it shares with its parent.
    pub peak_bytes: u64,
    /// What it holds now (`VmRSS`).
    pub resident_bytes: u64,
}

/// CPU time of this process, all threads.
pub fn own_cpu() -> Cpu {
    usage_of(UsageWho::RUSAGE_SELF)
}

/// CPU time of all children that were reaped so far.
pub fn children_cpu() -> Cpu {
    usage_of(UsageWho::RUSAGE_CHILDREN)
}

fn usage_of(who: UsageWho) -> Cpu {
    let usage: Usage = getrusage(who).expect("getrusage fails only for an unknown target");
    let us = |time: nix::sys::time::TimeVal| u64::try_from(time.num_microseconds()).unwrap_or(0);
    Cpu { user_us: us(usage.user_time()), system_us: us(usage.system_time()) }
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    let used = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every Linux has a CPU clock for each thread");
    Duration::new(u64::try_from(used.tv_sec()).unwrap_or(0), u32::try_from(used.tv_nsec()).unwrap_or(0))
}

/// Uses an amount of CPU time of the calling thread, however long that takes.
pub fn burn_cpu(cpu: Duration) {
    let until = thread_cpu() + cpu;
    while thread_cpu() < until {
        // The clock is a system call: about a microsecond of computing between two looks.
        for number in 0..1_000_u64 {
            std::hint::black_box(number);
        }
    }
}

/// CPU time that another process has used so far, all its threads. An error: it has ended, or belongs to another user.
pub fn cpu_of(pid: u32) -> io::Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?))?;
    let used = clock_gettime(clock)?;
    Ok(Duration::new(u64::try_from(used.tv_sec()).unwrap_or(0), u32::try_from(used.tv_nsec()).unwrap_or(0)))
}

/// The children of a process with one thread that were not reaped yet.
pub fn children_of(pid: u32) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}

/// Memory of this process, from /proc/self/status.
pub fn own_memory() -> io::Result<Memory> {
    let kib = 1024;
    Ok(Memory { peak_bytes: status_number("VmHWM")? * kib, resident_bytes: status_number("VmRSS")? * kib })
}

/// The monotonic clock in microseconds since some moment that all processes of this machine share: times taken in
/// parent and child can be compared. It stands still while the machine sleeps and never goes back.
pub fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has a monotonic clock");
    u64::try_from(now.num_microseconds()).unwrap_or(0)
}

/// How many processors this process may use: its affinity mask and the CPU quota of its cgroup, at least 1.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The machine's name, for messages; "unknown" when it can't be read.
pub fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// The number at the start of a line of /proc/self/status, without its unit.
pub(crate) fn status_number(field: &str) -> io::Result<u64> {
    let text = status_text(field)?;
    let digits = text.split_whitespace().next().unwrap_or_default();
    digits.parse().map_err(|_| io::Error::other(format!("{field} in /proc/self/status is {text:?}, not a number")))
}

/// A line of /proc/self/status, without its name.
pub(crate) fn status_text(field: &str) -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| *name == field).map(|(_, text)| text.trim().to_owned());
    found.ok_or_else(|| io::Error::other(format!("no {field} in /proc/self/status")))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{
        burn_cpu, children_of, cpu_of, monotonic_us, own_cpu, own_memory, processors, status_number, status_text, thread_cpu,
    };

    #[test]
    fn memory_and_threads_are_read() {
        let memory = own_memory().unwrap();
        assert!(memory.peak_bytes >= memory.resident_bytes / 2 && memory.resident_bytes > 100_000, "{memory:?}");
        assert!(status_number("Threads").unwrap() >= 1);
        assert!(status_text("No such field").is_err() && status_number("Name").is_err());
    }

    #[test]
    fn the_clock_and_cpu_time_move_on() {
        let (clock, cpu, started) = (monotonic_us(), own_cpu(), Instant::now());
        let mut sum = 0_u64;
        while started.elapsed() < Duration::from_millis(50) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(monotonic_us() - clock >= 50_000);
        assert!(own_cpu().total_us() > cpu.total_us());
    }

    #[test]
    fn burnt_cpu_is_the_threads_own() {
        let (before, wanted) = (thread_cpu(), Duration::from_millis(20));
        burn_cpu(wanted);
        let used = thread_cpu() - before;
        // Only the last round between two looks comes on top.
        assert!(used >= wanted && used < wanted * 2, "{used:?}");
        let rested = thread_cpu();
        std::thread::sleep(wanted);
        assert!(thread_cpu() - rested < wanted, "sleeping uses none");
    }

    #[test]
    fn the_cpu_of_a_process_is_seen_from_outside() {
        let own = std::process::id();
        let before = cpu_of(own).unwrap();
        burn_cpu(Duration::from_millis(20));
        assert!(cpu_of(own).unwrap() - before >= Duration::from_millis(20));
        assert!(cpu_of(u32::MAX).is_err() && children_of(u32::MAX).is_err());
    }

    #[test]
    fn there_is_a_processor() {
        assert!(processors() >= 1);
    }
}
