//! RFC 4180 point by point, and what becomes of what it leaves open.

use super::*;
use crate::csv::header::HeaderError;
use crate::csv::row_starts::RowStarts;

const HEAD: &str = "a,b\n";

fn one(row: &str) -> Result<String, String> {
    let objects = objects(format!("{HEAD}{row}\nlast,row\n").as_bytes(), &[]);
    assert_eq!(objects.last(), Some(&Ok(r#"{"a":"last","b":"row"}"#.to_owned())), "what follows is read");
    assert_eq!(objects.len(), 2, "{row:?} is one row");
    objects[0].clone()
}

fn good(row: &str, object: &str) {
    assert_eq!(one(row), Ok(object.to_owned()), "{row:?}");
}

fn bad(row: &str, reason: &str) {
    assert_eq!(one(row), Err(reason.to_owned()), "{row:?}");
}

#[test]
fn the_points_of_rfc_4180() {
    // 1 and 2: a line each, the last one with or without its end.
    for file in ["a,b\r\n1,2\r\n3,4\r\n", "a,b\r\n1,2\r\n3,4", "a,b\n1,2\n3,4", "a,b\r1,2\r3,4\r", "a,b\r1,2\r3,4"] {
        let expected = [r#"{"a":"1","b":"2"}"#, r#"{"a":"3","b":"4"}"#].map(|object| Ok(object.to_owned()));
        assert_eq!(objects(file.as_bytes(), &[]), expected, "{file:?}");
    }
    // 4: spaces are part of a field.
    good(" x , y ", r#"{"a":" x ","b":" y "}"#);
    // 5: quotes around a field, or not.
    good("\"x\",y", r#"{"a":"x","b":"y"}"#);
    // 6: line ends, quotes and commas in quotes.
    good("\"x\r\ny\",\"1,2\"", r#"{"a":"x\r\ny","b":"1,2"}"#);
    // 7: a quote in quotes stands twice.
    good("\"x\"\"y\",\"\"\"\"", r#"{"a":"x\"y","b":"\""}"#);
}

#[test]
fn line_ends_may_be_mixed_and_rows_without_a_byte_are_blank() {
    let file = b"a,b\r\n\n1,2\r\r\n3,4\n\r5,6\r\n\r\n7,8\r";
    let expected = ["1,2", "3,4", "5,6", "7,8"].map(|row| Ok(format!(r#"{{"a":"{}","b":"{}"}}"#, &row[..1], &row[2..])));
    assert_eq!(objects(file, &[]), expected);
    assert_eq!(rows(file, Dialect::default(), 1).iter().filter(|row| row.is_empty()).count(), 4);
    bad(" ", "the row has 1 field and 2 are expected");
}

#[test]
fn quotes_where_they_open_nothing_are_bytes_like_others() {
    good("x\"y,5\"", r#"{"a":"x\"y","b":"5\""}"#);
    good(" \"x\",\"y\"", r#"{"a":" \"x\"","b":"y"}"#);
}

#[test]
fn text_behind_a_closing_quote_is_bad_and_the_next_row_is_not() {
    bad("\"x\"y,z", "text follows the closing quote at byte 2 of the row: a quote within quotes is written twice");
    bad("1,\"x\" ", "text follows the closing quote at byte 4 of the row: a quote within quotes is written twice");
    bad("\"x\"\"y\"z\"w,2", "text follows the closing quote at byte 5 of the row: a quote within quotes is written twice");
}

#[test]
fn a_quote_that_is_never_closed_takes_the_rest_of_the_file() {
    let objects = objects(b"a,b\n1,2\n3,\"4\n5,6\n", &[]);
    assert_eq!(objects[0], Ok(r#"{"a":"1","b":"2"}"#.to_owned()));
    assert_eq!(objects[1..], [Err("the quote at byte 2 of the row is never closed".to_owned())]);
}

#[test]
fn without_multiline_each_line_end_ends_a_row() {
    let dialect = Dialect { multiline: false, ..Dialect::default() };
    let rows = rows(b"1,\"a\nb\"\r\n\"x\"\"y\",2\n", dialect, 3);
    assert_eq!(rows, [&b"1,\"a"[..], b"b\"", b"\"x\"\"y\",2"]);
    assert_eq!(fields(&rows[0], dialect), Err(Misquoted::NeverClosed(2)));
    assert_eq!(fields(&rows[2], dialect), Ok(vec![b"x\"y".to_vec(), b"2".to_vec()]));
}

#[test]
fn a_row_has_as_many_fields_as_the_header() {
    bad("1", "the row has 1 field and 2 are expected");
    bad("1,2,3", "the row has 3 fields and 2 are expected");
    bad("1,2,", "the row has 3 fields and 2 are expected");
    bad("1,2,3,\"4\"5,6", "the row has 4 fields and 2 are expected");
    good(",", r#"{"a":null,"b":null}"#);
}

#[test]
fn other_bytes_become_what_json_makes_of_them() {
    good("\0\u{1f},\\\t\u{8}\u{c}\u{7f}", "{\"a\":\"\\u0000\\u001f\",\"b\":\"\\\\\\t\\b\\f\u{7f}\"}");
    good("é,\"日本\n\"", r#"{"a":"é","b":"日本\n"}"#);
    let invalid = objects(b"a,b\n1,x\xff\n\"\xc3\",2\n", &[]);
    let expected = ["column `b` is not UTF-8 at byte 1 of the field", "column `a` is not UTF-8 at byte 0 of the field"];
    assert_eq!(invalid, expected.map(|reason| Err(reason.to_owned())));
}

#[test]
fn types_are_judged_and_named() {
    let kinds = [("n", CsvType::Number), ("b", CsvType::Bool), ("j", CsvType::Json), ("s", CsvType::String)];
    let made = |row: &str| objects(format!("n,b,j,s\n{row}\n").as_bytes(), &kinds).remove(0);
    assert_eq!(
        made("-1.50e3,TRUE,\"{\"\"x\"\": [1, \"\"é\"\"]}\",7"),
        Ok(r#"{"n":-1.50e3,"b":true,"j":{"x": [1, "é"]},"s":"7"}"#.into())
    );
    assert_eq!(made("\"12\",f,null,"), Ok(r#"{"n":12,"b":false,"j":null,"s":null}"#.into()));
    assert_eq!(made(",,,\"\""), Ok(r#"{"n":null,"b":null,"j":null,"s":""}"#.into()));
    let reason = |row: &str| made(row).unwrap_err();
    assert_eq!(reason("007,t,1,x"), "column `n` is not a JSON number");
    assert_eq!(reason("\"\",t,1,x"), "column `n` is not a JSON number");
    assert_eq!(reason("1,yes,1,x"), "column `b` is not true or false");
    assert_eq!(reason("1,0,{,x"), "column `j` is not JSON");
    assert_eq!(reason("1,1,1 2,x"), "column `j` is not JSON");
}

#[test]
fn the_text_that_means_null_is_compared_without_quotes() {
    let dialect = Dialect::default();
    let header = Header::from_row(b"a,b,c", dialect).unwrap();
    let mut maker = RowMaker::new(dialect, r"\N", &header, |_| CsvType::String);
    let mut object = Vec::new();
    maker.make(br#"\N,"\N","#, &mut object).unwrap();
    assert_eq!(String::from_utf8(object).unwrap(), r#"{"a":null,"b":"\\N","c":""}"#);
}

#[test]
fn names_of_columns_are_whole_and_differ() {
    let header = |row: &str| Header::from_row(row.as_bytes(), Dialect::default());
    assert_eq!(header("a,\"b \"\"c\"\"\",ü").unwrap().names(), ["a", "b \"c\"", "ü"]);
    assert_eq!(header("a,,c").unwrap_err().to_string(), "column 2 has no name");
    assert_eq!(header("id,x,\"id\"").unwrap_err().to_string(), "columns 1 and 3 are both named `id`");
    assert_eq!(header("a,\"b\"c"), Err(HeaderError::Misquoted(2)));
    assert_eq!(Header::from_row(b"\xff", Dialect::default()), Err(HeaderError::NotUtf8(1)));
    assert_eq!(Header::new(Vec::new()), Err(HeaderError::Empty));
    assert_eq!(header(""), Err(HeaderError::Nameless(1)));
}

#[test]
fn names_are_escaped_like_values() {
    assert_eq!(objects(b"\"a\"\"\n\",b\n1,2\n", &[]), [Ok(r#"{"a\"\n":"1","b":"2"}"#.to_owned())]);
}

#[test]
fn other_delimiters_and_quotes() {
    let dialect = Dialect { delimiter: b'\t', quote: b'\'', multiline: true };
    let rows = rows(b"'it''s\n'\t\"x\"\t\n", dialect, 2);
    assert_eq!(fields(&rows[0], dialect), Ok(vec![b"it's\n".to_vec(), b"\"x\"".to_vec(), Vec::new()]));
    let header = Header::new(["a", "b", "c"].map(String::from).to_vec()).unwrap();
    let mut object = Vec::new();
    RowMaker::new(dialect, "", &header, |_| CsvType::String).make(&rows[0], &mut object).unwrap();
    assert_eq!(String::from_utf8(object).unwrap(), r#"{"a":"it's\n","b":"\"x\"","c":null}"#);
}

#[test]
fn a_pass_ends_where_the_last_wished_start_was_found() {
    let file = "1,\"a\nb\"\n".repeat(100_000);
    let mut reached = Vec::new();
    let found =
        row_starts(file.as_bytes(), Dialect::default(), 0, [1, 3, 8, 17, 300_000], |place| reached.push(place)).unwrap();
    assert_eq!(found, RowStarts { starts: vec![8, 24, 300_000], never_closed: None });
    assert_eq!(reached, [256 << 10, 512 << 10]);
    let all = row_starts(file.as_bytes(), Dialect::default(), 0, (0..).map(|n| n * 100_000 + 1), |_| {}).unwrap();
    assert_eq!(all.starts.len(), 8);
}

#[test]
fn a_pass_tells_the_row_that_never_ends() {
    let found = row_starts(&b"1\n2\n3,\"4\n5\n"[..], Dialect::default(), 0, [100], |_| {}).unwrap();
    assert_eq!(found, RowStarts { starts: Vec::new(), never_closed: Some(4) });
}
