//! Paths as a shell or another tool reads them, which mean something else here, or nothing: each is named, with what to
//! write instead.
//!
//! Responsible for the text alone, and for a way to write a name that really looks so: `./` before it, or `[…]` around
//! a character of a pattern. Not responsible for whether a file is there.

use super::Refusal;

/// Paths that several braces mean: as many as are shown at most.
const SHOWN: usize = 6;

/// A path: anything but nothing, and but what only a shell or another tool understands.
pub(crate) fn path(text: &str) -> Result<(), Refusal> {
    possible(text)?;
    if let Some(scheme) = scheme(text) {
        let why = format!("{scheme}:// is no path of this machine");
        return Err(Refusal::with(why, "write a path, such as \"/var/lib/shardlift\""));
    }
    home(text)?;
    variable(text, "./")
}

/// A path or pattern of a source's files: the same, and a file that can be read twice.
pub(crate) fn pattern(text: &str) -> Result<(), Refusal> {
    possible(text)?;
    if let Some(scheme) = scheme(text) {
        let why = format!("{scheme}:// is no path of this machine, and only its files are read");
        return Err(Refusal::with(why, fetched(scheme, text)));
    }
    if text == "-" || text == "/dev/stdin" || text.starts_with("/dev/fd/") || text.starts_with("/proc/self/fd/") {
        let why = "a stream can't be read twice, as continuing and verifying need";
        return Err(Refusal::with(why, "write it into a file first (… > data.jsonl), and name the file here"));
    }
    home(text)?;
    variable(text, "[")?;
    braces(text)
}

/// What no path can be.
fn possible(text: &str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.contains('\0') {
        return Err("a path has no NUL".into());
    }
    Ok(())
}

/// The scheme of an address such as `s3://bucket/key`.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-');
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(plain)).then_some(scheme)
}

/// How files behind an address come to this machine.
fn fetched(scheme: &str, text: &str) -> String {
    let how = match scheme.to_ascii_lowercase().as_str() {
        "file" => return format!("write the path alone: {:?}", text[scheme.len() + 3..].trim_start_matches("localhost")),
        "s3" | "s3a" | "s3n" => "download the files (aws s3 cp --recursive), or mount the bucket (mount-s3)",
        "gs" => "download the files (gcloud storage cp --recursive), or mount the bucket (gcsfuse)",
        "abfs" | "abfss" | "wasb" | "wasbs" | "az" => "download the files (azcopy copy), or mount the container (blobfuse2)",
        "hdfs" | "webhdfs" | "viewfs" => "download the files (hdfs dfs -get)",
        "http" | "https" | "ftp" => "download the file (curl -O)",
        _ => "download the files",
    };
    format!("{how}, and name the files here")
}

/// `~` and `~name` before the first slash.
fn home(text: &str) -> Result<(), Refusal> {
    let first = text.split('/').next().unwrap_or_default();
    // A file may be called `~x`; a folder hardly.
    if first.strip_prefix('~').is_some_and(|name| name.is_empty() || text.contains('/')) {
        let why = format!("no shell makes a home folder of `{first}` here");
        return Err(Refusal::with(why, format!("write the whole path (a folder that is really called so: \"./{first}/…\")")));
    }
    Ok(())
}

/// `$NAME`, `${NAME}` and `$(command)`, unless `escape` stands before them.
fn variable(text: &str, escape: &str) -> Result<(), Refusal> {
    let Some(seen) = text.match_indices('$').find_map(|(at, _)| variable_at(text, at, escape)) else { return Ok(()) };
    let why = format!("no shell puts the value of `{seen}` here");
    let literal = if escape == "[" { "[$]" } else { "./$" };
    Err(Refusal::with(
        why,
        format!(
            "write what it stands for, or have your shell do it: --set \"KEY='…'\" (a name that really has a $: \"{literal}\")"
        ),
    ))
}

fn variable_at<'a>(text: &'a str, at: usize, escape: &str) -> Option<&'a str> {
    let (before, rest) = (&text[..at], &text[at + 1..]);
    // `../` is no `./`.
    if before.strip_suffix(escape).is_some_and(|left| escape == "[" || !left.ends_with('.')) {
        return None;
    }
    let closing = match rest.chars().next()? {
        '{' => Some('}'),
        '(' => Some(')'),
        _ => None,
    };
    if let Some(closing) = closing {
        return rest.find(closing).map(|end| &text[at..at + end + 2]);
    }
    let len = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let name = &rest[..len];
    let begins = before.is_empty() || before.ends_with('/');
    let by_custom = len > 1 && !name.contains(|c: char| c.is_ascii_lowercase());
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && (begins || by_custom);
    is_name.then(|| &text[at..at + 1 + len])
}

/// `{a,b}` and `{1..3}`.
fn braces(text: &str) -> Result<(), Refusal> {
    let Some((open, close)) = first_braces(text) else { return Ok(()) };
    let seen = &text[open..=close];
    let mut all = Vec::new();
    expand(text, &mut all);
    let instead = match all.len() {
        2..=SHOWN => format!("list them: {}", quoted(&all)),
        _ => "list each of them, or use `*`, `?` or `[…]`".to_owned(),
    };
    let why = format!("no shell makes several paths of {seen} here");
    Err(Refusal::with(why, instead + " (a name that really has a brace: \"[{]\")"))
}

/// Where the first braces stand that mean several texts.
fn first_braces(text: &str) -> Option<(usize, usize)> {
    text.match_indices('{').filter(|(at, _)| !text[..*at].ends_with('[')).find_map(|(open, _)| {
        let close = open + text[open..].find('}')?;
        let inner = &text[open + 1..close];
        (inner.contains(',') || inner.contains("..")).then_some((open, close))
    })
}

/// The texts that a shell makes of lists in braces; nothing of ones that are not lists.
fn expand(text: &str, into: &mut Vec<String>) {
    let Some((open, close)) = first_braces(text) else {
        into.push(text.to_owned());
        return;
    };
    let inner = &text[open + 1..close];
    if into.len() > SHOWN || inner.contains('{') || !inner.contains(',') {
        into.clear();
        return;
    }
    inner.split(',').for_each(|one| expand(&format!("{}{one}{}", &text[..open], &text[close + 1..]), into));
}

/// Texts as a list of TOML.
fn quoted(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(check: fn(&str) -> Result<(), Refusal>, text: &str) -> String {
        let refused = check(text).expect_err(text);
        format!("{}; {}", refused.why, refused.instead.unwrap_or_default())
    }

    #[test]
    fn names_that_only_look_so_pass() {
        for text in [
            "~data.jsonl",
            "./~/a.jsonl",
            "a~/b",
            "data/{a}/x",
            "x{}",
            "[{]a,b}",
            "a$b.jsonl",
            "Foo$Bar.jsonl",
            "cost$5",
            "[$]HOME/x",
            "data/[$]{DAY}/x",
            "a:b",
            "C:/x",
            "./-",
            "data/-",
            "/dev/sdb",
            "s3/bucket",
            "a://",
            "$",
        ] {
            let refused = pattern(text).err();
            assert!(refused.is_none() || text == "a://", "{text}: {refused:?}");
        }
        for text in ["./$HOME", "/data/./${X}", "{a,b}", "./~", "-", ".shardlift"] {
            assert!(path(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn each_says_what_it_is_and_what_to_write() {
        for (text, parts) in [
            ("~", ["home folder of `~`", "\"./~/…\""]),
            ("~/data/*.jsonl", ["home folder of `~`", "write the whole path"]),
            ("~ann/x", ["home folder of `~ann`", "\"./~ann/…\""]),
            ("$HOME/x", ["the value of `$HOME`", "[$]"]),
            ("/data/${DAY}/x", ["the value of `${DAY}`", "--set"]),
            ("orders-$DAY.jsonl", ["the value of `$DAY`", "--set"]),
            ("x-$(date +%F).jsonl", ["the value of `$(date +%F)`", "--set"]),
            ("d/{a,b}/*.jsonl", ["several paths of {a,b}", "[\"d/a/*.jsonl\", \"d/b/*.jsonl\"]"]),
            ("{a,b}{c,d}", ["several paths of {a,b}", "[\"ac\", \"ad\", \"bc\", \"bd\"]"]),
            ("x{01..31}", ["several paths of {01..31}", "list each of them"]),
            ("{a,b}{c,d}{e,f}", ["several paths of {a,b}", "list each of them"]),
            ("s3://bucket/x", ["s3:// is no path", "aws s3 cp"]),
            ("gs://b/x", ["gs:// is no path", "gcloud storage cp"]),
            ("hdfs://n:8020/x", ["hdfs:// is no path", "hdfs dfs -get"]),
            ("https://h/x.gz", ["https:// is no path", "curl -O"]),
            ("file:///data/x", ["file:// is no path", "write the path alone: \"/data/x\""]),
            ("-", ["read twice", "> data.jsonl"]),
            ("/dev/stdin", ["read twice", "> data.jsonl"]),
        ] {
            let seen = why(pattern, text);
            assert!(parts.iter().all(|part| seen.contains(part)), "{text}: {seen}");
        }
        assert!(why(path, "~/state").contains("home folder"));
        assert!(why(path, "../$HOME/state").contains("the value of `$HOME`"));
        assert!(why(path, "$HOME/state").contains("\"./$\""));
        assert!(why(path, "s3://b").contains("write a path"));
    }
}
