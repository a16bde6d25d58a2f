use migration::job::{FieldPath, OnMissing, RecordRules, TimestampUnit, Validate};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::{MapError, Mapping};

fn path(text: &str) -> FieldPath {
    FieldPath(text.split('.').skip(1).map(str::to_owned).collect())
}

fn rules(key: Option<&str>, timestamp: Option<(&str, TimestampUnit)>, on_missing: OnMissing) -> RecordRules {
    RecordRules {
        key: key.map(path),
        on_missing,
        validate: Validate::Field,
        timestamp: timestamp.map(|(p, _)| path(p)),
        timestamp_unit: timestamp.map_or(TimestampUnit::Rfc3339, |(_, unit)| unit),
        headers: Vec::new(),
    }
}

/// The key of a line; the error's text.
fn key_with(at: &str, on_missing: OnMissing, line: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut mapping = Mapping::new(&rules(Some(at), None, on_missing));
    let mapped = mapping.map(line).map_err(|e| e.to_string())?;
    assert_eq!(mapped.timestamp, None);
    Ok(mapped.key.bytes(line).map(<[u8]>::to_vec))
}

fn key(at: &str, line: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, String> {
    key_with(at, OnMissing::DeadLetter, line.as_ref())
}

fn is(text: &str) -> Result<Option<Vec<u8>>, String> {
    Ok(Some(text.as_bytes().to_vec()))
}

fn time(unit: TimestampUnit, value: &str) -> Result<i64, String> {
    let line = format!("{{\"t\":{value}}}");
    let mut mapping = Mapping::new(&rules(None, Some((".t", unit)), OnMissing::DeadLetter));
    let mapped = mapping.map(line.as_bytes()).map_err(|e| e.to_string())?;
    assert_eq!(mapped.key.bytes(line.as_bytes()), None);
    Ok(mapped.timestamp.expect("asked for"))
}

/// What a mapping says that wants whole lines.
fn whole(key: Option<&str>, line: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut mapping = Mapping::new(&RecordRules { validate: Validate::Whole, ..rules(key, None, OnMissing::Null) });
    assert!(!mapping.is_identity_keyless());
    let mapped = mapping.map(line).map_err(|e| e.to_string())?;
    Ok(mapped.key.bytes(line).map(<[u8]>::to_vec))
}

#[test]
fn a_whole_line_is_one_value() {
    for (line, wrong) in [
        (&b"{\"k\":\"a\"}{\"k\":\"b\"}"[..], "more after the end of the value at byte 9"),
        (b"{\"k\":\"a\"} {}", "more after the end of the value at byte 10"),
        (b"{\"k\":\"a\",\"n\":1", "the line ends early at byte 14"),
        (b"{\"k\":\"a\",\"t\":\"cut of", "the line ends early at byte 20"),
        (b"{\"k\":\"a\",}", "expected a field name at byte 9"),
        (b"{\"k\":\"a\",\"x\":[1,2}", "expected `,` or a closing bracket at byte 17"),
        (b"{\"k\":\"a\",\"x\":\"\xff\"}", "bytes that are not UTF-8 at byte 14"),
        (b"{\"k\":\"a\",\"x\":01}", "expected the end of a value at byte 14"),
    ] {
        let expected = format!("not one whole JSON value: {wrong} of the line (record.validate)");
        assert_eq!(whole(Some(".k"), line), Err(expected.clone()));
        assert_eq!(whole(None, line), Err(expected));
        assert_eq!(key_with(".k", OnMissing::Null, line), is("a"), "only the field is judged by default");
    }
    for line in ["{\"k\":\"a\",\"x\":[{}]} ", "{\"k\":\"a\"}", "{\"x\":{\"k\":1},\"k\":\"a\",\"k\":\"b\"}"] {
        assert_eq!(whole(Some(".k"), line.as_bytes()), is("a"), "{line}");
    }
    for line in ["1", " \"a\" ", "null", "[]", "{}", "{\"k\":null}"] {
        assert_eq!(whole(Some(".k"), line.as_bytes()), Ok(None), "{line}");
        assert_eq!(whole(None, line.as_bytes()), Ok(None), "{line}");
    }
    assert_eq!(whole(Some(".a.k"), b"{\"a\":{\"k\":1,\"x\":{}},\"y\":[]}"), is("1"));
    assert!(whole(Some(".a.k"), b"{\"a\":{\"k\":1},\"y\":[]").is_err());
    assert_eq!(whole(Some(".a"), b"{\"a\":{\"k\":1}}x").unwrap_err().matches("more after").count(), 1);
}

#[test]
fn key_bytes() {
    assert_eq!(key(".k", r#"{"k":"a b"}"#), is("a b"));
    assert_eq!(key(".k", r#" { "x" : [ 1 , {"k":2} ] , "k" : "" } "#), is(""));
    assert_eq!(key(".k", r#"{"k":-1.50e+3}"#), is("-1.50e+3"));
    assert_eq!(key(".k", r#"{"k":0 }"#), is("0"));
    assert_eq!(key(".k", r#"{"k":true}"#), is("true"));
    assert_eq!(key(".k", r#"{"k":false,"x":1}"#), is("false"));
    assert_eq!(key(".k", r#"{"k":"q\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}"#), is("q\"\\/\u{8}\u{c}\n\r\té😀"));
    assert_eq!(key(".k", r#"{"k":"\u0000"}"#), is("\0"));
    assert_eq!(key(".k", "{\"k\":\"é\u{7f}\"}"), is("é\u{7f}"));
}

#[test]
fn keys_that_are_none() {
    for (line, reason) in [
        (r#"{"k":{"a":1}}"#, "key .k is an object"),
        (r#"{"k":[1]}"#, "key .k is an array"),
        (r#"{"k":"\ud800"}"#, "key .k is half of a surrogate pair"),
        (r#"{"k":"\udc00x"}"#, "key .k is half of a surrogate pair"),
        (r#"{"k":"\ud800\u0041"}"#, "key .k is half of a surrogate pair"),
        (r#"{"k":null}"#, "null in .k"),
        (r#"{"x":1}"#, "no field .k"),
        ("[1,{\"k\":1}]", "the line is an array, not an object: no field .k"),
        ("\"k\"", "the line is a string, not an object: no field .k"),
        (" 12 ", "the line is a number, not an object: no field .k"),
        ("false", "the line is a boolean, not an object: no field .k"),
        ("null", "the line is null, not an object: no field .k"),
        ("{}", "no field .k"),
    ] {
        assert_eq!(key(".k", line), Err(reason.to_owned()), "{line}");
    }
    let line = b"{\"k\":\"a\xff\"}";
    assert_eq!(key(".k", line), Err("key .k is not valid UTF-8".to_owned()));
}

#[test]
fn a_missing_key_may_be_null() {
    for line in [r#"{"k":null}"#, r#"{"x":1}"#, "[]", "null", r#"{"k":null,"k":1}"#] {
        assert_eq!(key_with(".k", OnMissing::Null, line.as_bytes()), Ok(None), "{line}");
    }
    assert!(key_with(".k", OnMissing::Null, br#"{"k":{}}"#).is_err());
    assert!(key_with(".k", OnMissing::Null, b"{\"x\":1").is_err());
    assert!(key_with(".k", OnMissing::Null, b"{} x").is_err());
    assert!(key_with(".k", OnMissing::Null, b"").is_err());
}

#[test]
fn nested_paths_and_duplicates() {
    assert_eq!(key(".a.b", r#"{"b":1,"a":{"x":{"b":2},"b":3}}"#), is("3"));
    assert_eq!(key(".a.b", r#"{"a":{"b":1,"b":2},"a":{"b":3}}"#), is("1"));
    assert_eq!(key(".a", r#"{"a":1,"a":2}"#), is("1"));
    assert_eq!(key(".a.b", r#"{"a":{"x":1},"a":{"b":3}}"#), Err("no field .a.b".to_owned()));
    assert_eq!(key(".a.b", r#"{"a":7,"a":{"b":3}}"#), Err("no field .a.b".to_owned()));
    assert_eq!(key(".a.b", r#"{"a":{},"b":3}"#), Err("no field .a.b".to_owned()));
    assert_eq!(key(".name", r#"{"n\u0061me":"x","name":"y"}"#), is("x"));
    assert_eq!(key(".a", r#"{"A":"x","aa":"y","":"z","a":"w"}"#), is("w"));
}

#[test]
fn only_what_is_scanned_is_judged() {
    assert_eq!(key(".k", r#"{"k":"a" this is not JSON"#), is("a"));
    assert_eq!(key(".k", b"{\"x\":\"\xff\xfe\",\"k\":\"a\",\"y\":\"\x00\"}"), is("a"));
    assert_eq!(key(".k", r#"{"x":"\ud800","k":"a"}"#), is("a"));
    for (line, reason) in [
        ("", "the line ends early at byte 0"),
        ("{", "the line ends early at byte 1"),
        ("{\"k\":12", "the line ends early at byte 7"),
        ("{\"k\":true", "the line ends early at byte 9"),
        ("{\"k\":\"a", "the line ends early at byte 7"),
        ("{\"k\":\"a\\", "the line ends early at byte 8"),
        ("{\"x\":1 \"k\":2}", "expected `,` or `}` at byte 7"),
        ("{\"x\":1,}", "expected a field name at byte 7"),
        ("{\"x\" 1}", "expected `:` at byte 5"),
        ("{\"x\":tru,\"k\":1}", "expected a value at byte 5"),
        ("{\"x\":truex,\"k\":1}", "expected the end of a value at byte 9"),
        ("{\"x\":[1,],\"k\":1}", "expected a value at byte 8"),
        ("{\"x\":[1 2],\"k\":1}", "expected `,` or a closing bracket at byte 8"),
        ("{\"x\":[1},\"k\":1}", "expected `,` or a closing bracket at byte 7"),
        ("{\"x\":01,\"k\":1}", "expected the end of a value at byte 6"),
        ("{\"x\":1.,\"k\":1}", "expected a digit at byte 7"),
        ("{\"x\":-,\"k\":1}", "expected a digit at byte 6"),
        ("{\"x\":1e,\"k\":1}", "expected a digit at byte 7"),
        ("{\"x\":\"\\x\",\"k\":1}", "unknown escape in a string at byte 7"),
        ("{\"x\":\"\\u12g4\",\"k\":1}", "expected four hexadecimal digits after `\\u` at byte 10"),
        ("{\"x\":\"a\0\",\"k\":1}", "a NUL byte at byte 7"),
        ("{\"x\":\"a\x01\",\"k\":1}", "control character in a string at byte 7"),
        ("{\"x\":1}}", "more after the end of the value at byte 7"),
        ("\u{feff}{\"k\":1}", "a byte order mark (EF BB BF) at byte 0"),
        ("{\"x\":1,\u{feff}\"k\":1}", "a byte order mark (EF BB BF) at byte 7"),
        ("\x1e{\"k\":1}", "a record separator (0x1E), as in a JSON text sequence, at byte 0"),
        ("\0\0\0", "a NUL byte at byte 0"),
        ("x", "expected a value at byte 0"),
    ] {
        assert_eq!(key(".k", line), Err(format!("invalid JSON before .k: {reason} of the line")), "{line:?}");
    }
}

#[test]
fn deep_nesting_does_not_overflow() {
    for (open, close) in [("[", "]"), ("{\"k\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        assert_eq!(key(".k", format!("{{\"x\":{deep},\"k\":7}}")), is("7"));
        let cut = format!("{{\"x\":{}", open.repeat(100_000));
        assert!(key(".k", cut).unwrap_err().contains("the line ends early"));
    }
}

#[test]
fn two_fields_in_one_pass() {
    let both = rules(Some(".m.k"), Some((".m.t", TimestampUnit::Milliseconds)), OnMissing::DeadLetter);
    let mut mapping = Mapping::new(&both);
    for line in [r#"{"m":{"k":"a","t":5}}"#, r#"{"m":{"t":5,"x":{},"k":"a"} rest"#] {
        let mapped = mapping.map(line.as_bytes()).unwrap();
        assert_eq!((mapped.key.bytes(line.as_bytes()), mapped.timestamp), (Some(&b"a"[..]), Some(5)), "{line}");
    }
    let error = |mapping: &mut Mapping, line: &str| mapping.map(line.as_bytes()).unwrap_err().to_string();
    assert_eq!(error(&mut mapping, r#"{"m":{"k":"a"},"m":{"t":5}}"#), "no field .m.t");
    assert_eq!(error(&mut mapping, r#"{"m":{"k":"a"} x"#), "no field .m.t");
    assert_eq!(
        error(&mut mapping, r#"{"m":{"k":"a" x"#),
        "invalid JSON before .m.t: expected `,` or `}` at byte 14 of the line"
    );
    let mut nested = Mapping::new(&rules(Some(".a"), Some((".a.t", TimestampUnit::Milliseconds)), OnMissing::Null));
    assert_eq!(error(&mut nested, r#"{"a":{"t":5}}"#), "key .a is an object");
    assert!(!mapping.is_identity_keyless());
    let mut identity = Mapping::new(&rules(None, None, OnMissing::DeadLetter));
    assert!(identity.is_identity_keyless());
    assert!(identity.map(b"anything").is_ok());
}

const ZERO: &str =
    "timestamp .t is 0 milliseconds since 1970, which a Kafka client can't send: it writes the time of sending instead";

#[test]
fn the_edges_of_rfc_3339() {
    const NOT: &str = "timestamp .t is not an RFC 3339 time with an offset";
    const BEFORE: &str = "timestamp .t is before 1970";
    let table: [(&str, Result<i64, &str>); 62] = [
        // The smallest and the largest.
        ("1970-01-01T00:00:00Z", Err(ZERO)),
        ("1970-01-01T00:00:00.0009Z", Err(ZERO)),
        ("1970-01-01T00:00:00.001Z", Ok(1)),
        ("1970-01-01T00:00:01Z", Ok(1000)),
        ("1970-01-01T02:00:00+02:00", Err(ZERO)),
        ("1970-01-01T00:00:00-00:01", Ok(60_000)),
        ("1970-01-01T00:00:00+00:01", Err(BEFORE)),
        ("1969-12-31T23:59:59.9999Z", Err(BEFORE)),
        ("1969-12-31T23:59:00-00:02", Ok(60_000)),
        ("0000-01-01T00:00:00Z", Err(BEFORE)),
        ("0000-02-29T00:00:00Z", Err(BEFORE)),
        ("9999-12-31T23:59:59Z", Ok(253_402_300_799_000)),
        ("9999-12-31T23:59:59.999999999999Z", Ok(253_402_300_799_999)),
        ("9999-12-31T23:59:59-23:59", Ok(253_402_387_139_000)),
        ("10000-01-01T00:00:00Z", Err(NOT)),
        ("+2026-01-31T12:00:00Z", Err(NOT)),
        ("-0001-01-31T12:00:00Z", Err(NOT)),
        ("026-01-31T12:00:00Z", Err(NOT)),
        // The letters.
        ("2026-01-31t12:00:00z", Ok(1_769_860_800_000)),
        ("2026-01-31 12:00:00Z", Ok(1_769_860_800_000)),
        ("2026-01-31_12:00:00Z", Err(NOT)),
        ("2026-01-31  12:00:00Z", Err(NOT)),
        (" 2026-01-31T12:00:00Z", Err(NOT)),
        ("2026-01-31T12:00:00Z ", Err(NOT)),
        ("2026-01-31T12:00:00", Err(NOT)),
        ("2026-01-31T12:00Z", Err(NOT)),
        ("2026-01-31", Err(NOT)),
        ("20260131T120000Z", Err(NOT)),
        ("2026/01/31T12:00:00Z", Err(NOT)),
        ("2026-W05-6T12:00:00Z", Err(NOT)),
        ("2026-01-31T12:00:00Z[UTC]", Err(NOT)),
        ("2026-01-31T1a:00:00Z", Err(NOT)),
        ("", Err(NOT)),
        // Offsets.
        ("2026-01-31T12:00:00+23:59", Ok(1_769_774_460_000)),
        ("2026-01-31T12:00:00-23:59", Ok(1_769_947_140_000)),
        ("2026-01-31T12:00:00-00:00", Ok(1_769_860_800_000)),
        ("2026-01-31T12:00:00+24:00", Err(NOT)),
        ("2026-01-31T12:00:00-24:00", Err(NOT)),
        ("2026-01-31T12:00:00+02:60", Err(NOT)),
        ("2026-01-31T12:00:00+02", Err(NOT)),
        ("2026-01-31T12:00:00+0200", Err(NOT)),
        ("2026-01-31T12:00:00+2:00", Err(NOT)),
        // Fractions.
        ("2026-01-31T12:00:00.9Z", Ok(1_769_860_800_900)),
        ("2026-01-31T12:00:00.09Z", Ok(1_769_860_800_090)),
        ("2026-01-31T12:00:00.99999999999999999999999999999Z", Ok(1_769_860_800_999)),
        ("2026-01-31T12:00:00.Z", Err(NOT)),
        ("2026-01-31T12:00:00,5Z", Err(NOT)),
        // Leap seconds: only where one can be.
        ("2016-12-31T23:59:60Z", Ok(1_483_228_799_999)),
        ("2016-12-31T23:59:60.5Z", Ok(1_483_228_799_999)),
        ("2017-01-01T01:59:60+02:00", Ok(1_483_228_799_999)),
        ("2015-06-30T16:59:60-07:00", Ok(1_435_708_799_999)),
        ("2016-12-31T23:59:60+01:00", Err(NOT)),
        ("2016-12-30T23:59:60Z", Err(NOT)),
        ("2016-12-31T23:59:61Z", Err(NOT)),
        // The calendar.
        ("2026-00-31T12:00:00Z", Err(NOT)),
        ("2026-13-31T12:00:00Z", Err(NOT)),
        ("2026-01-00T12:00:00Z", Err(NOT)),
        ("2026-04-31T12:00:00Z", Err(NOT)),
        ("2100-02-29T12:00:00Z", Err(NOT)),
        ("2000-02-29T12:00:00Z", Ok(951_825_600_000)),
        ("2026-01-31T24:00:00Z", Err(NOT)),
        ("2026-01-31T12:60:00Z", Err(NOT)),
    ];
    for (text, expected) in table {
        assert_eq!(time(TimestampUnit::Rfc3339, &format!("\"{text}\"")), expected.map_err(str::to_owned), "{text}");
    }
}

#[test]
fn each_day_of_eight_thousand_years_follows_the_one_before() {
    let (mut day, mut days) = ((1970, 1, 1), 0i64);
    while day.0 < 10_000 {
        let text = format!("\"{:04}-{:02}-{:02}T00:00:00.001Z\"", day.0, day.1, day.2);
        assert_eq!(time(TimestampUnit::Rfc3339, &text), Ok(days * 86_400_000 + 1), "{text}");
        let leap = day.0 % 4 == 0 && (day.0 % 100 != 0 || day.0 % 400 == 0);
        let length = [31, 28 + i32::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][day.1 as usize - 1];
        days += 1;
        day = match day {
            (year, 12, 31) => (year + 1, 1, 1),
            (year, month, last) if last == length => (year, month + 1, 1),
            (year, month, day) => (year, month, day + 1),
        };
    }
}

#[test]
fn timestamps() {
    use TimestampUnit::{Microseconds, Milliseconds, Rfc3339, Seconds};
    for (unit, value, millis) in [
        (Rfc3339, "\"2026-01-31T12:00:00Z\"", 1_769_860_800_000),
        (Rfc3339, "\"2026-01-31T12:00:00.1239+02:00\"", 1_769_853_600_123),
        (Rfc3339, "\"2026-01-31T12:00:00\\u002b02:00\"", 1_769_853_600_000),
        (Seconds, "1769860800", 1_769_860_800_000),
        (Seconds, "1769860800.123", 1_769_860_800_123),
        (Seconds, "1769860800.9999999999999999999999", 1_769_860_800_999),
        (Seconds, "1.7698608001235e9", 1_769_860_800_123),
        (Seconds, "0.001", 1),
        (Seconds, "1e-3", 1),
        (Milliseconds, "1769860800123", 1_769_860_800_123),
        (Milliseconds, "1.769860800123E+12", 1_769_860_800_123),
        (Milliseconds, "1769860800123.9", 1_769_860_800_123),
        (Milliseconds, "9223372036854775807", i64::MAX),
        (Milliseconds, "1", 1),
        (Microseconds, "1769860800123999", 1_769_860_800_123),
        (Microseconds, "1000", 1),
        (Microseconds, "9223372036854775807999", i64::MAX),
    ] {
        assert_eq!(time(unit, value), Ok(millis), "{value}");
    }
    for (unit, value, reason) in [
        (Rfc3339, "\"2026-01-31T12:00:00\"", "timestamp .t is not an RFC 3339 time with an offset"),
        (Rfc3339, "\"yesterday\"", "timestamp .t is not an RFC 3339 time with an offset"),
        (Rfc3339, "\"1969-12-31T23:59:59.999Z\"", "timestamp .t is before 1970"),
        (Rfc3339, "1769860800", "timestamp .t is a number, not a string with an RFC 3339 time"),
        (Seconds, "\"1769860800\"", "timestamp .t is a string, not a number of seconds"),
        (Seconds, "-1", "timestamp .t is negative"),
        (Seconds, "9223372036854775", "timestamp .t is too large"),
        (Seconds, "9223372036854776", "timestamp .t is too large"),
        (Milliseconds, "9223372036854775808", "timestamp .t is too large"),
        (Milliseconds, "1e19", "timestamp .t is too large"),
        (Milliseconds, "1e99999999999999999999", "timestamp .t is too large"),
        (Microseconds, "9223372036854775808000", "timestamp .t is too large"),
        (Seconds, "0", ZERO),
        (Seconds, "-0", ZERO),
        (Seconds, "-0.000e7", ZERO),
        (Seconds, "0.0009999", ZERO),
        (Seconds, "-0.0005", "timestamp .t is negative"),
        (Milliseconds, "0", ZERO),
        (Milliseconds, "0.9", ZERO),
        (Milliseconds, "1e-99999999999999999999", ZERO),
        (Milliseconds, "0e99999999999999999999", ZERO),
        (Microseconds, "0", ZERO),
        (Microseconds, "999", ZERO),
        (Microseconds, "null", "timestamp .t is null, not a number of microseconds"),
        (Microseconds, "{}", "timestamp .t is an object, not a number of microseconds"),
        (Microseconds, "[]", "timestamp .t is an array, not a number of microseconds"),
        (Microseconds, "true", "timestamp .t is a boolean, not a number of microseconds"),
    ] {
        // 9,223,372,036,854,775 s are just within 64 bits of milliseconds.
        let expected = if value == "9223372036854775" { Ok(9_223_372_036_854_775_000) } else { Err(reason.to_owned()) };
        assert_eq!(time(unit, value), expected, "{value}");
    }
    let mut mapping = Mapping::new(&rules(None, Some((".t", Seconds)), OnMissing::Null));
    assert!(matches!(mapping.map(b"{}"), Err(MapError::Missing { .. })), "a missing timestamp is never made up");
}

/// Names and letters from a small set, so that paths hit and duplicates happen.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "k", "", "aa"]).prop_map(str::to_owned),
        2 => "[a-z\"\\\\/\u{0}-\u{1f}\u{7f}é😀]{0,24}",
        1 => any::<String>(),
    ]
}

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Json::from),
        text().prop_map(Json::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::vec((text(), inner), 0..6).prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

/// What the rules say of a parsed document.
fn oracle(doc: &Json, path: &[&str]) -> Result<Option<Vec<u8>>, ()> {
    let found = path.iter().try_fold(doc, |at, name| at.as_object().and_then(|o| o.get(*name)));
    match found {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(s)) => Ok(Some(s.clone().into_bytes())),
        Some(Json::Array(_) | Json::Object(_)) => Err(()),
        Some(scalar) => Ok(Some(scalar.to_string().into_bytes())),
    }
}

/// The document's text with or without white space and with some letters escaped: those that no word, number or escape
/// has.
fn write(doc: &Json, spaced: bool, escaped: bool) -> String {
    let text = if spaced { serde_json::to_string_pretty(doc) } else { serde_json::to_string(doc) }.unwrap();
    if !escaped {
        return text;
    }
    text.chars().map(|c| if c == 'k' || !c.is_ascii() { escape(c) } else { c.to_string() }).collect()
}

fn escape(c: char) -> String {
    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect()
}

/// How many lines are compared: `SHARDLIFT_TEST_LINES`, or a few seconds' worth.
fn lines() -> u32 {
    std::env::var("SHARDLIFT_TEST_LINES").map_or(20_000, |count| count.parse().expect("a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: lines(), failure_persistence: None, ..ProptestConfig::default() })]

    /// The same as the fuzz target, on lines that are nearly JSON.
    #[test]
    fn the_scanner_agrees_with_serde_json(line in prop_oneof![
        3 => prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..24).prop_map(|pieces| pieces.concat()),
        1 => (json(), any::<bool>(), any::<bool>()).prop_map(|(doc, spaced, escaped)| write(&doc, spaced, escaped).into_bytes()),
    ]) {
        super::against_serde::compare(&line);
    }
}

/// What lines are put together of; some pieces make a line of many that is JSON.
const PIECES: [&[u8]; 40] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b" ",
    b"\t",
    b"{\"k\":",
    b"{\"a\":",
    b"{\"\":",
    b"{\"b\":",
    b"{\"\\u0061\":",
    b"\"k\":",
    b"\"a\":",
    b"\"b\":",
    b",\"k\":",
    b",\"a\":",
    b",\"x\":",
    b"\"v\"",
    b"\"\\ud83d\\ude00\"",
    b"\"\\ud800\"",
    b"\"\\n\xc3\xa9\"",
    b"\"\xff\"",
    b"\"\x01\"",
    b"0",
    b"-0",
    b"01",
    b"1e5",
    b"-1.25E-3",
    b"1e999",
    b"12345678901234567890123",
    b"true",
    b"false",
    b"null",
    b"nul",
    b"{}",
    b"[1,{\"k\":2}]",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_parser_on_valid_documents(
        doc in json(),
        path in prop::sample::select(vec![vec!["a"], vec!["k"], vec![""], vec!["a", "b"], vec!["a", "a", "k"]]),
        spaced: bool,
    ) {
        for escaped in [false, true] {
            let line = write(&doc, spaced, escaped);
            let field = path.iter().map(|name| format!(".{name}")).collect::<String>();
            let seen = key_with(&field, OnMissing::Null, line.as_bytes());
            prop_assert_eq!(seen.map_err(|_| ()), oracle(&doc, &path), "{}", line);
        }
    }

    #[test]
    fn never_calls_a_valid_document_invalid(
        doc in json(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"{}[],:\"\\0e1-.ntu \x00\xff".to_vec())), 1..4),
    ) {
        let mut line = doc.to_string().into_bytes();
        for (at, byte) in changes {
            let at = at.index(line.len());
            line[at] = byte;
        }
        let seen = key_with(".no such field", OnMissing::Null, &line);
        // The parser also wants UTF-8 and whole surrogate pairs, which the scanner leaves alone outside the key.
        let valid = serde_json::from_slice::<serde::de::IgnoredAny>(&line).is_ok();
        let utf8 = std::str::from_utf8(&line).is_ok();
        if valid || utf8 {
            prop_assert_eq!(seen.is_ok(), valid, "{:?}", String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn a_whole_line_is_what_a_parser_takes(
        doc in json(),
        at in "[.]k|[.]a|[.]a[.]b",
        second in prop::option::of(json()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"{}[],:\"\\0e1-.ntu \x00\xff".to_vec())), 0..3),
    ) {
        let mut line = [doc.to_string(), second.map_or(String::new(), |doc| doc.to_string())].concat().into_bytes();
        for (at, byte) in changes {
            let at = at.index(line.len());
            line[at] = byte;
        }
        let valid = serde_json::from_slice::<serde::de::IgnoredAny>(&line).is_ok() && std::str::from_utf8(&line).is_ok();
        let refused = |seen: Result<_, String>| seen.is_err_and(|error| error.starts_with("not one whole JSON value"));
        prop_assert_eq!(refused(whole(Some(&at), &line)), !valid, "{:?}", String::from_utf8_lossy(&line));
        prop_assert_eq!(refused(whole(None, &line)), !valid);
    }

    #[test]
    fn survives_any_bytes(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = key(".k", &line);
        let _ = time(TimestampUnit::Rfc3339, &String::from_utf8_lossy(&line));
    }

    #[test]
    fn milliseconds_are_exact(millis in 1000..=i64::MAX, micros in 0..1000u32) {
        prop_assert_eq!(time(TimestampUnit::Milliseconds, &millis.to_string()), Ok(millis));
        let seconds = format!("{}.{:03}{micros:03}", millis / 1000, millis % 1000);
        prop_assert_eq!(time(TimestampUnit::Seconds, &seconds), Ok(millis));
        let small = millis / 1000;
        prop_assert_eq!(time(TimestampUnit::Microseconds, &format!("{small}{micros:03}")), Ok(small));
    }
}
