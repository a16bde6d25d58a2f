//! The config of a job.

use std::path::Path;

use migration::config::{Context, ErrorPlace, Typed};

const SECRET: &str = "not-to-be-shown-0b1c";

/// The data are a config file. A job or errors come of it, each error stands where the text is, and no secret is shown.
pub(crate) fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let typed = match Typed::parse(&text, "orchestrator.toml") {
        Ok(typed) => typed,
        Err(errors) => return judge(&errors, &text),
    };
    let job = typed.mean(&Context {
        config_dir: Path::new("/jobs"),
        env: &|name| name.starts_with('S').then(|| SECRET.to_owned()),
        read_secret_file: &|_| Ok(SECRET.to_owned()),
        check_properties: &|_| Vec::new(),
        is_folder: &|path| Ok(path.ends_with("folder")),
        contacts_brokers: true,
    });
    match job {
        Ok(job) => assert!(!format!("{job:?}").contains(SECRET)),
        Err(errors) => judge(&errors, &text),
    }
}

fn judge(errors: &migration::config::ConfigErrors, text: &str) {
    assert!(!errors.errors().is_empty());
    assert!(!errors.to_string().contains(SECRET));
    for error in errors.errors() {
        if let ErrorPlace::Text { line, column, .. } = &error.place {
            assert!((1..=text.split('\n').count()).contains(line) && *column > 0, "{error}");
        }
    }
}
