//! What the client needs to prove who it is, and would miss only when it is made, or when brokers answer: a mechanism,
//! a name and a password, files that are there.
//!
//! Responsible for what can be told without brokers. Not responsible for whether they take it: that is preflight's.

use std::path::Path;

use super::checks;
use super::context::Context;
use super::error::{ErrorCode, Problems};
use super::exposure::{PROTOCOL, protocol};
use super::key::Merged;
use super::origin::ValueOrigin;
use super::properties::typed_form;
use super::suggest::nearest;
use super::typed::tick;
use super::value::NamedValue;
use crate::job::{Brokers, KafkaRules, Property};
use crate::printable::printable;

/// The mechanisms that this build of the client and brokers know.
const MECHANISMS: [&str; 4] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"];
/// The client's default.
const KERBEROS: &str = "GSSAPI";

/// Properties that name a file, and whether a folder may stand there.
const FILES: [(&str, bool); 6] = [
    ("ssl.ca.location", true),
    ("https.ca.location", true),
    ("ssl.certificate.location", false),
    ("ssl.key.location", false),
    ("ssl.keystore.location", false),
    ("ssl.crl.location", false),
];
/// A word of the client for the place of `ssl.ca.location`: it looks where systems keep them.
const PROBE: &str = "probe";
/// How a PEM begins.
const PEM: &str = "-----BEGIN";

/// Refuses what the client can't log in with. `given` are the properties with their secrets resolved.
pub(super) fn security(merged: &Merged<'_>, given: &[(String, Property)], ctx: &Context<'_>, problems: &mut Problems) {
    if !ctx.contacts_brokers {
        return;
    }
    let embedded = merged.get(&KafkaRules::BROKERS) == Brokers::Embedded;
    if protocol(given).starts_with("sasl_") && !embedded {
        mechanism(merged, given, problems);
    }
    for (name, folder) in FILES {
        if let Some((entry, value)) = property(merged, given, name) {
            file(entry, value.expose(), folder, ctx, problems);
        }
    }
}

/// An entry and its value.
fn property<'a>(merged: &'a Merged<'_>, given: &'a [(String, Property)], name: &str) -> Option<(&'a NamedValue, &'a Property)> {
    let entry = entry(merged, name)?;
    given.iter().find(|(given, _)| given == name).map(|(_, value)| (entry, value))
}

fn entry<'a>(merged: &'a Merged<'_>, name: &str) -> Option<&'a NamedValue> {
    merged.entries(&KafkaRules::PROPERTIES).iter().find(|entry| entry.name.value == name)
}

fn mechanism(merged: &Merged<'_>, given: &[(String, Property)], problems: &mut Problems) {
    let found = ["sasl.mechanisms", "sasl.mechanism"].iter().find_map(|name| property(merged, given, name));
    let refused = ["sasl.mechanisms", "sasl.mechanism"].iter().any(|name| entry(merged, name).is_some());
    let shown = protocol(given);
    let Some((entry, value)) = found.filter(|(_, value)| !value.expose().trim().is_empty()) else {
        if let Some(entry) = entry(merged, PROTOCOL).filter(|_| found.is_some() || !refused) {
            let message = format!(
                "`{PROTOCOL}` is {shown} without `sasl.mechanisms`: the client's default, {KERBEROS} (Kerberos), is not in this build"
            );
            problems
                .add(ErrorCode::Missing, &of_the_config(&entry.value.origin), message)
                .help("add below [kafka.properties]: \"sasl.mechanisms\" = \"SCRAM-SHA-512\"")
                .help("or what your cluster has: \"SCRAM-SHA-256\", \"PLAIN\" or \"OAUTHBEARER\"");
        }
        return;
    };
    let (name, origin) = (tick(&entry.name.value), of_the_config(&entry.value.origin));
    let allowed = format!("allowed: {}", MECHANISMS.map(|word| format!("\"{word}\"")).join(" or "));
    let word = value.expose().trim();
    if word == KERBEROS {
        let message = format!("{name} is {KERBEROS} (Kerberos), which is not in this build of the client");
        problems.add(ErrorCode::NotYet, &origin, message).help(allowed);
    } else if !MECHANISMS.contains(&word) {
        let seen = match value {
            Property::Plain(_) => format!("{:?}", printable(word)),
            Property::Secret(secret) => format!("what {} holds", secret.from),
        };
        let error = problems.add(ErrorCode::BadValue, &origin, format!("{name} is {seen}"));
        let capitals = word.to_ascii_uppercase().replace('_', "-");
        error.suggest(nearest(&capitals, MECHANISMS));
        if word == "AWS_MSK_IAM" {
            error.help("it is of Amazon's Java library: use SCRAM-SHA-512, with a name and password of the cluster");
        }
        error.help(allowed);
    } else if word != "OAUTHBEARER" {
        // One that could not be resolved was told before.
        for needed in ["sasl.username", "sasl.password"] {
            let empty = property(merged, given, needed).is_some_and(|(_, value)| value.expose().is_empty());
            if empty || self::entry(merged, needed).is_none() {
                let message = format!("{name} is {word} without `{needed}`");
                let line = if needed == "sasl.password" { typed_form(needed) } else { format!("  {needed:?} = \"NAME\"") };
                problems.add(ErrorCode::Missing, &origin, message).help(format!("add below [kafka.properties]:{}", &line[1..]));
            }
        }
    }
}

fn file(entry: &NamedValue, path: &str, may_be_folder: bool, ctx: &Context<'_>, problems: &mut Problems) {
    let (name, origin) = (tick(&entry.name.value), of_the_config(&entry.value.origin));
    if path.is_empty() || (may_be_folder && path == PROBE) {
        return;
    }
    if path.trim_start().starts_with(PEM) {
        // The line is not shown: it may be a private key.
        let at_name = of_the_config(&entry.name.origin);
        let error = problems.add(ErrorCode::NoFile, &at_name, format!("{name} is the text of a PEM, not the path of a file"));
        error.help("write that text into a file, and its path here").hide_value();
        return;
    }
    let what = match (ctx.is_folder)(Path::new(path)) {
        Ok(true) if !may_be_folder => "it is a folder".to_owned(),
        Ok(_) => return,
        Err(error) => error.to_string(),
    };
    let error = problems.add(ErrorCode::NoFile, &origin, format!("{name} is {:?}: {what}", printable(path)));
    if let Err(refusal) = checks::path(path) {
        error.help(format!("{}: write the whole path", refusal.why));
    } else if Path::new(path).is_relative() {
        error.help("the client starts relative paths at the folder of the command, not at that of this file");
    }
}

/// What a job means is wrong, not how the command line is written.
fn of_the_config(origin: &ValueOrigin) -> ValueOrigin {
    match origin {
        ValueOrigin::Given(given) => ValueOrigin::given(&given.name),
        other => other.clone(),
    }
}
