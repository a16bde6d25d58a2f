//! Where a measurement was taken: the machine, the client, what was typed.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::figures::Environment;

/// This machine, now. `command`: what was typed.
pub fn environment(command: String) -> Environment {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    Environment {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        client: format!("librdkafka {}", kafka::options::client_version()),
        system: format!("{} {}", read("/proc/sys/kernel/ostype").trim(), read("/proc/sys/kernel/osrelease").trim()),
        processors: u32::try_from(process::processors()).unwrap_or(u32::MAX),
        processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
        memory_bytes: field(&read("/proc/meminfo"), "MemTotal").map_or(0, |text| kib(&text) * 1024),
        started_unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
        command,
    }
}

/// What stands behind the first `name` and its colon.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name))?;
    Some(line.1.trim().to_owned())
}

fn kib(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_read() {
        let text = "MemTotal:       16384 kB\nMemFree:  1 kB\n";
        assert_eq!(field(text, "MemTotal").map(|text| kib(&text)), Some(16_384));
        assert_eq!(field(text, "model name"), None);
    }

    #[test]
    fn this_machine_has_processors_and_memory() {
        let here = environment("shardlift compare".to_owned());
        assert!(here.processors >= 1 && here.memory_bytes > 1 << 20, "{here:?}");
        assert!(here.client.starts_with("librdkafka ") && here.system.starts_with("Linux "), "{here:?}");
    }
}
