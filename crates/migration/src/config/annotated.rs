//! The annotated config file: the one at the project's root, which is also the template of `shardlift init`.

/// The project's `orchestrator.toml`: the first run's job, with every default as a comment.
pub const ANNOTATED: &str = include_str!("../../../../orchestrator.toml");

/// What `shardlift init` knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotatedValues {
    /// The job's name.
    pub job_name: String,
    /// The source's files or patterns.
    pub paths: Vec<String>,
    /// Where the key is, such as `.customer_id`; `None` = no key.
    pub key: Option<String>,
    /// The topic.
    pub topic: String,
    /// Brokers as `host:port`; none, or `embedded` alone: the embedded broker.
    pub brokers: Vec<String>,
}

/// [`ANNOTATED`] with these values on its active lines. Without a key its line becomes an example in a comment.
pub fn annotated(values: &AnnotatedValues) -> String {
    let brokers = match values.brokers.as_slice() {
        [] => quote("embedded"),
        [one] if one == "embedded" => quote(one),
        several => list(several),
    };
    let mut table = "";
    let mut out = String::with_capacity(ANNOTATED.len());
    for line in ANNOTATED.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']');
        }
        let name = line.split_once(" = ").map(|(name, _)| name);
        let value = match (table, name) {
            ("job", Some("name")) => quote(&values.job_name),
            ("source.jsonl", Some("paths")) => list(&values.paths),
            ("kafka", Some("brokers")) => brokers.clone(),
            ("kafka", Some("topic")) => quote(&values.topic),
            ("record", Some("key")) => match &values.key {
                Some(key) => quote(key),
                None => {
                    out.push_str(&format!("#   {line}\n"));
                    continue;
                }
            },
            _ => {
                out.push_str(line);
                out.push('\n');
                continue;
            }
        };
        out.push_str(&format!("{} = {value}\n", name.unwrap_or_default()));
    }
    out
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", "))
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
