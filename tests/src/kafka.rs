//! A real Kafka for the tests: `scripts/kafka` with a folder of its own, and [`Admin`] for what is asked of it while it
//! runs.

use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use std::os::unix::process::CommandExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::admin::{Admin, NAMELESS, OpenTransaction, Operation, Rule};
use crate::proxy::Proxy;
use crate::temporary::TempDir;
use crate::waiting::{collect, wait_child};
use crate::{root, topic};

/// What real-Kafka tests need beside the build.
const TOOLS: [&str; 5] = ["kcat", "java", "mvn", "openssl", "zstd"];

/// Which tools are missing; empty = real-Kafka tests can run.
pub fn missing_tools() -> Vec<&'static str> {
    let from_home = std::env::var_os("KAFKA_HOME").is_some();
    missing(&TOOLS).into_iter().filter(|tool| !(from_home && *tool == "mvn")).collect()
}

/// Which of these programs are not on the path.
pub(crate) fn missing(tools: &[&'static str]) -> Vec<&'static str> {
    let installed = |tool: &str| {
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()))
    };
    tools.iter().copied().filter(|tool| !installed(tool)).collect()
}

/// A running cluster; dropping it stops the brokers and removes their data.
///
/// A guardian (a shell that waits for the end of a pipe from us) does the stopping, so that brokers end even if the
/// test binary is killed.
pub struct Kafka {
    folder: TempDir,
    bootstrap: String,
    admin: Admin,
    guardian: Child,
    lifeline: Option<ChildStdin>,
    proxy: Option<Proxy>,
}

impl Kafka {
    /// Starts one broker and waits until it answers. It has an authoriser, which allows everything until a topic gets a
    /// rule.
    pub fn start() -> Self {
        Self::start_with(&["--rules"])
    }

    /// Starts three brokers and waits until they answer. They have no authoriser: without users it keeps controllers
    /// from electing one of them.
    pub fn start_three() -> Self {
        Self::start_with(&["--brokers", "3"])
    }

    /// Starts one broker with a [`Kafka::listener`] of each kind of security, and with an authoriser that allows
    /// nothing that no rule allows, but everything to who has no name.
    pub fn start_secured() -> Self {
        Self::start_with(&["--secure"])
    }

    /// Starts one broker that can also be reached from afar: through a proxy with this round trip, at
    /// [`Kafka::distant`].
    pub fn start_distant(round_trip: Duration) -> Self {
        let proxy = Proxy::listen(round_trip);
        let mut kafka = Self::start_with(&["--proxy", &proxy.port().to_string()]);
        let address = kafka.call(&["behind-proxy"]);
        proxy.connect_to(address.parse().expect("scripts/kafka prints an address"));
        kafka.proxy = Some(proxy);
        kafka
    }

    /// Starts one broker or three, each with a second address behind a proxy of the caller's: clients that come that
    /// way are told that the brokers are at `first_port` and the ports behind it.
    pub fn start_behind_proxy(brokers: u32, first_port: u16) -> Self {
        Self::start_with(&["--brokers", &brokers.to_string(), "--proxy", &first_port.to_string()])
    }

    fn start_with(words: &[&str]) -> Self {
        let folder = TempDir::new("kafka");
        let mut guardian = Command::new("bash")
            .args(["-c", "cat; \"$0\" --dir \"$1\" stop; rmdir \"${1%/*}\""])
            .args([script(), folder.join("cluster")])
            .process_group(0) // a terminal's Ctrl-C ends the tests; the guardian has to outlive them
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("bash can be started");
        let lifeline = guardian.stdin.take();
        let mut kafka = Kafka { folder, bootstrap: String::new(), admin: Admin::new(""), guardian, lifeline, proxy: None };
        kafka.bootstrap = kafka.call(&[&["start"], words].concat());
        kafka.admin = Admin::new(&kafka.bootstrap);
        kafka
    }

    /// `host:port` of all brokers.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The folder of the cluster, as `scripts/kafka --dir` takes it.
    pub fn folder(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    /// `host:port` of a listener of [`Kafka::start_secured`]; `scripts/kafka --help` has their names.
    pub fn listener(&self, name: &str) -> String {
        self.call(&["listener", name])
    }

    /// The path of a certificate or key of [`Kafka::start_secured`], such as `ca.pem`.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.folder.join("cluster/tls").join(name)
    }

    /// Cuts the connections of all clients that came through the proxy.
    pub fn cut(&self) {
        self.proxy.as_ref().expect("only a cluster of start_distant has a proxy").cut();
    }

    /// `host:port` of the proxy before the broker; clients that start there never see the broker's own address.
    pub fn distant(&self) -> String {
        let proxy = self.proxy.as_ref().expect("only a cluster of start_distant has a proxy");
        format!("127.0.0.1:{}", proxy.port())
    }

    /// Creates a topic with `partitions` partitions and `key=value` configs; all brokers know it afterwards. The
    /// clusters are shared: a name that another test uses fails.
    pub fn create_topic(&self, name: &str, partitions: u32, configs: &[&str]) {
        self.admin.create_topic(name, partitions, configs);
    }

    /// Deletes a topic; no broker knows it afterwards.
    pub fn delete_topic(&self, name: &str) {
        self.admin.delete_topic(name);
    }

    /// The names of all topics.
    pub fn topics(&self) -> Vec<String> {
        self.admin.topics()
    }

    /// Whether there is a topic of this name.
    pub fn has_topic(&self, name: &str) -> bool {
        self.topics().iter().any(|topic| topic == name)
    }

    /// Gives a topic more partitions, `partitions` in all.
    pub fn add_partitions(&self, topic: &str, partitions: u32) {
        self.admin.add_partitions(topic, partitions);
    }

    /// Sets `key=value` configs of a topic that is there.
    pub fn alter_topic(&self, topic: &str, configs: &[&str]) {
        self.admin.alter_topic(topic, configs);
    }

    /// Deletes a partition's records before `offset`.
    pub fn delete_records(&self, topic: &str, partition: u32, offset: u64) {
        self.admin.delete_records(topic, partition, offset);
    }

    /// The ends of a topic's partitions in their log, open transactions included.
    pub fn end_offsets(&self, topic: &str) -> Vec<u64> {
        self.admin.end_offsets(topic)
    }

    /// Adds a rule for a topic and those without a name. From then on it allows nothing beside what its rules allow.
    pub fn add_rule(&self, topic: &str, rule: Rule, operation: Operation) {
        self.admin.add_rule(topic, NAMELESS, rule, operation);
    }

    /// The same for a principal such as `User:alice`.
    pub fn add_rule_for(&self, principal: &str, topic: &str, rule: Rule, operation: Operation) {
        self.admin.add_rule(topic, principal, rule, operation);
    }

    /// Lets a principal use transactional ids with this prefix, and of others only those who were let before.
    pub fn allow_transactional_ids(&self, prefix: &str, principal: &str) {
        self.admin.allow_transactional_ids(prefix, principal);
    }

    /// Takes all rules of a topic away.
    pub fn remove_rules(&self, topic: &str) {
        self.admin.remove_rules(topic);
    }

    /// Opens a transaction of another producer with values, without keys, in one partition; the broker aborts it after
    /// a minute.
    pub fn open_transaction(&self, topic: &str, partition: u32, values: &[&str]) -> OpenTransaction {
        self.admin.open_transaction(topic, partition, values, Duration::from_secs(60))
    }

    /// SIGKILL for a broker (from 1); its data stay.
    pub fn kill(&self, broker: u32) {
        self.call(&["kill", &broker.to_string()]);
    }

    /// Ends a broker cleanly; its data stay.
    pub fn terminate(&self, broker: u32) {
        self.call(&["term", &broker.to_string()]);
    }

    /// Starts a broker again on its data and waits until it answers.
    pub fn restart(&self, broker: u32) {
        self.call(&["restart", &broker.to_string()]);
    }

    /// Starts the brokers that do not run and lets those go on that were stopped, as a test that failed may have left
    /// them.
    pub fn heal(&self) {
        let status = self.try_call(&["status"]);
        for line in String::from_utf8_lossy(&status.stdout).lines() {
            let mut words = line.split_whitespace();
            let (Some(Ok(broker)), Some(state)) = (words.next().map(str::parse), words.next()) else { continue };
            if state == "running" {
                let broker = Pid::from_raw(self.pid(broker).cast_signed());
                kill(broker, Signal::SIGCONT).expect("the broker runs");
            } else {
                self.restart(broker);
            }
        }
    }

    /// The process id of a broker, for its CPU time.
    pub fn pid(&self, broker: u32) -> u32 {
        self.call(&["pid", &broker.to_string()]).parse().expect("scripts/kafka pid prints a number")
    }

    /// Produces records with kcat: key and value; the key must not contain a tab, neither a line end.
    pub fn produce(&self, topic: &str, records: &[(&str, &str)]) {
        self.produce_as(topic, &[], records);
    }

    /// The same with more words for kcat: `-p PARTITION`, `-H NAME=VALUE`.
    pub fn produce_as(&self, topic: &str, words: &[&str], records: &[(&str, &str)]) {
        use std::io::Write;
        let mut kcat = Command::new("kcat")
            .args(["-P", "-b", &self.bootstrap, "-t", topic, "-K", "\t", "-X", "partitioner=murmur2_random"])
            .args(words)
            .stdin(Stdio::piped())
            .spawn()
            .expect("kcat can be started");
        let lines: String = records.iter().map(|(key, value)| format!("{key}\t{value}\n")).collect();
        kcat.stdin.take().expect("stdin is a pipe").write_all(lines.as_bytes()).expect("kcat reads its input");
        assert!(kcat.wait().expect("kcat can be waited for").success(), "kcat could not produce to {topic}");
    }

    /// All records of a small topic, uncommitted ones too.
    pub fn records(&self, topic: &str) -> Vec<topic::TopicRecord> {
        topic::all(&self.bootstrap, topic, topic::Isolation::Uncommitted)
    }

    /// Runs `scripts/kafka` on this cluster and returns its stdout.
    pub fn call(&self, words: &[&str]) -> String {
        let output = self.try_call(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scripts/kafka {words:?}: {}\n{error}", output.status);
        String::from_utf8(output.stdout).expect("scripts/kafka prints text").trim_end().to_owned()
    }

    /// The same, without a judgement on the exit code.
    pub fn try_call(&self, words: &[&str]) -> Output {
        collect(self.begin(words), "scripts/kafka", Duration::from_secs(300))
    }

    /// Starts the same, and does not wait for it.
    pub fn begin(&self, words: &[&str]) -> Child {
        Command::new(script())
            .arg("--dir")
            .arg(self.folder.join("cluster"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("scripts/kafka can be started")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        if wait_child(&mut self.guardian, Duration::from_secs(60)).is_none() {
            eprintln!("scripts/kafka stop hangs for {}", self.folder.path().display());
        }
    }
}

fn script() -> PathBuf {
    root().join("scripts/kafka")
}
