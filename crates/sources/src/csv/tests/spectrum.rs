//! The cases of the public collection csv-spectrum, rebuilt: each file and the objects that it means.

use super::*;

fn means(file: &str, expected: &[&str]) {
    let objects = objects(file.as_bytes(), &[]);
    let expected: Vec<Result<String, String>> = expected.iter().map(|object| Ok((*object).to_owned())).collect();
    assert_eq!(objects, expected, "{file:?}");
}

#[test]
fn comma_in_quotes() {
    means(
        "first,last,address,city,zip\nJohn,Doe,120 any st.,\"Anytown, WW\",08123\n",
        &[r#"{"first":"John","last":"Doe","address":"120 any st.","city":"Anytown, WW","zip":"08123"}"#],
    );
}

/// Theirs are empty strings; with quotes they are here, and without them `null`.
#[test]
fn empty() {
    means("a,b,c\n1,\"\",\"\"\n2,3,4\n", &[r#"{"a":"1","b":"","c":""}"#, r#"{"a":"2","b":"3","c":"4"}"#]);
    means("a,b,c\n1,,\n2,3,4\n", &[r#"{"a":"1","b":null,"c":null}"#, r#"{"a":"2","b":"3","c":"4"}"#]);
}

#[test]
fn empty_crlf() {
    means("a,b,c\r\n1,\"\",\"\"\r\n2,3,4\r\n", &[r#"{"a":"1","b":"","c":""}"#, r#"{"a":"2","b":"3","c":"4"}"#]);
}

#[test]
fn escaped_quotes() {
    means("a,b\n1,\"ha \"\"ha\"\" ha\"\n3,4\n", &[r#"{"a":"1","b":"ha \"ha\" ha"}"#, r#"{"a":"3","b":"4"}"#]);
}

#[test]
fn json() {
    means(
        "key,val\n1,\"{\"\"type\"\": \"\"Point\"\", \"\"coordinates\"\": [102.0, 0.5]}\"\n",
        &[r#"{"key":"1","val":"{\"type\": \"Point\", \"coordinates\": [102.0, 0.5]}"}"#],
    );
}

#[test]
fn location_coordinates() {
    means(
        "Contact Phone Number,Location Coordinates,Cities,Counties\n\
         (555) 555-5555,\"37.6,-122.3\",\"Foster City, San Mateo\",\"San Mateo\"\n",
        &[
            r#"{"Contact Phone Number":"(555) 555-5555","Location Coordinates":"37.6,-122.3","Cities":"Foster City, San Mateo","Counties":"San Mateo"}"#,
        ],
    );
}

#[test]
fn newlines() {
    means(
        "a,b,c\n1,2,3\n\"Once upon \na time\",5,6\n7,8,9\n",
        &[r#"{"a":"1","b":"2","c":"3"}"#, r#"{"a":"Once upon \na time","b":"5","c":"6"}"#, r#"{"a":"7","b":"8","c":"9"}"#],
    );
}

#[test]
fn newlines_crlf() {
    means(
        "a,b,c\r\n1,2,3\r\n\"Once upon \r\na time\",5,6\r\n7,8,9\r\n",
        &[r#"{"a":"1","b":"2","c":"3"}"#, r#"{"a":"Once upon \r\na time","b":"5","c":"6"}"#, r#"{"a":"7","b":"8","c":"9"}"#],
    );
}

#[test]
fn quotes_and_newlines() {
    means("a,b\n1,\"ha \n\"\"ha\"\" \nha\"\n3,4\n", &[r#"{"a":"1","b":"ha \n\"ha\" \nha"}"#, r#"{"a":"3","b":"4"}"#]);
}

#[test]
fn simple() {
    means("a,b,c\n1,2,3\n", &[r#"{"a":"1","b":"2","c":"3"}"#]);
}

#[test]
fn simple_crlf() {
    means("a,b,c\r\n1,2,3\r\n", &[r#"{"a":"1","b":"2","c":"3"}"#]);
}

#[test]
fn utf8() {
    means("a,b,c\n1,2,3\n4,5,ʤ\n", &[r#"{"a":"1","b":"2","c":"3"}"#, r#"{"a":"4","b":"5","c":"ʤ"}"#]);
}
