//! Random CSV: every piece size, every cut, against the reading of the `csv` crate.

use proptest::prelude::*;

use super::*;

/// The rows as the `csv` crate reads them.
fn judged(bytes: &[u8], dialect: Dialect) -> Vec<Vec<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(dialect.delimiter)
        .quote(dialect.quote)
        .from_reader(bytes);
    reader.byte_records().map(|row| row.unwrap().iter().map(<[u8]>::to_vec).collect()).collect()
}

/// Text that likes what is special.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z0-9 ]{0,12}",
        1 => Just("\"".to_owned()),
        1 => Just(",".to_owned()),
        1 => Just("\n".to_owned()),
        1 => Just("\r\n".to_owned()),
        1 => Just("\r".to_owned()),
        1 => Just("'".to_owned()),
        1 => Just(";".to_owned()),
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn dialect() -> impl Strategy<Value = Dialect> {
    (proptest::sample::select(&b",;\t|"[..]), proptest::sample::select(&b"\"'"[..])).prop_map(|(delimiter, quote)| Dialect {
        delimiter,
        quote,
        multiline: true,
    })
}

/// A field as it stands in a file: in quotes where it must be or is wished.
fn written(field: &str, wished: bool, dialect: Dialect) -> String {
    let quote = char::from(dialect.quote);
    let special = [quote, char::from(dialect.delimiter), '\n', '\r'];
    if wished || field.contains(special) {
        format!("{quote}{}{quote}", field.replace(quote, &format!("{quote}{quote}")))
    } else {
        field.to_owned()
    }
}

/// A file that is as it should be: its rows and its bytes.
fn sound() -> impl Strategy<Value = (Dialect, Vec<Vec<String>>, Vec<u8>)> {
    let row = |columns| proptest::collection::vec((text(), any::<bool>()), columns);
    let row = (1usize..6).prop_flat_map(move |columns| {
        let end = proptest::sample::select(&["\n", "\r\n", "\r", "\n\n", "\r\n\r\n"][..]);
        proptest::collection::vec((row(columns), end), 0..12)
    });
    (dialect(), row, any::<bool>()).prop_map(|(dialect, rows, last_end)| {
        let mut file = String::new();
        let last = rows.len().saturating_sub(1);
        for (index, (row, end)) in rows.iter().enumerate() {
            // An empty field alone is a blank row.
            let alone = row.len() == 1;
            let fields: Vec<_> =
                row.iter().map(|(field, wished)| written(field, *wished || alone && field.is_empty(), dialect)).collect();
            file += &fields.join(&char::from(dialect.delimiter).to_string());
            if index < last || last_end {
                file += end;
            }
        }
        let rows = rows.into_iter().map(|(row, _)| row.into_iter().map(|(field, _)| field).collect()).collect();
        // The judge passes over a byte order mark; who reads files does so before.
        (dialect, rows, file.trim_start_matches('\u{feff}').into())
    })
}

/// Anything at all, of bytes that have a meaning.
fn garbage() -> impl Strategy<Value = (Dialect, Vec<u8>)> {
    let byte = prop_oneof![proptest::sample::select(&b"\"\"',,;\n\n\r\rab \0\xc3\xa9\xff"[..])];
    (dialect(), proptest::collection::vec(byte, 0..80))
}

/// The starts of rows that a pass offers for these places.
fn starts(bytes: &[u8], dialect: Dialect, wished: impl IntoIterator<Item = u64>) -> Vec<u64> {
    row_starts(bytes, dialect, 0, wished, |_| {}).unwrap().starts
}

fn records(bytes: &[u8], dialect: Dialect, piece: usize) -> Vec<Vec<u8>> {
    rows(bytes, dialect, piece).into_iter().filter(|row| !row.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn rows_and_fields_are_those_of_the_csv_crate((dialect, written, file) in sound(), piece in 1usize..40) {
        let ours: Vec<_> = records(&file, dialect, piece).iter().map(|row| fields(row, dialect).unwrap()).collect();
        prop_assert_eq!(&ours, &judged(&file, dialect));
        if !written.first().is_some_and(|row| row[0].starts_with('\u{feff}')) {
            let written: Vec<Vec<Vec<u8>>> =
                written.iter().map(|row| row.iter().map(|field| field.clone().into_bytes()).collect()).collect();
            prop_assert_eq!(ours, written);
        }
    }

    #[test]
    fn garbage_has_the_same_rows_and_what_is_not_refused_is_the_same((dialect, file) in garbage(), piece in 1usize..40) {
        let (ours, judged) = (records(&file, dialect, piece), judged(&file, dialect));
        prop_assert_eq!(ours.len(), judged.len());
        for (row, judged) in ours.iter().zip(&judged) {
            match fields(row, dialect) {
                Ok(fields) => prop_assert_eq!(&fields, judged),
                Err(_) => prop_assert!(row.contains(&dialect.quote)),
            }
        }
    }

    #[test]
    fn all_pieces_between_any_cuts_are_the_file((dialect, _, file) in sound(), wished in proptest::collection::vec(1u64..400, 0..8)) {
        let mut wished = wished;
        wished.sort_unstable();
        cuts_are_sound(&file, dialect, &wished)?;
    }

    #[test]
    fn the_same_of_garbage((dialect, file) in garbage(), wished in proptest::collection::vec(1u64..80, 0..8)) {
        let mut wished = wished;
        wished.sort_unstable();
        cuts_are_sound(&file, dialect, &wished)?;
    }

    #[test]
    fn an_object_is_json_with_the_fields_of_the_row((dialect, written, _) in sound()) {
        for row in &written {
            let names: Vec<String> = (0..row.len()).map(|column| format!("c{column}")).collect();
            let mut maker = RowMaker::new(dialect, "\u{0}", &Header::new(names.clone()).unwrap(), |_| CsvType::String);
            for quoted in [false, true] {
                let fields: Vec<_> = row.iter().map(|field| super::random::written(field, quoted, dialect)).collect();
                let mut object = Vec::new();
                maker.make(fields.join(&char::from(dialect.delimiter).to_string()).as_bytes(), &mut object).unwrap();
                let value: serde_json::Value = serde_json::from_slice(&object).unwrap();
                let expected: serde_json::Map<String, serde_json::Value> =
                    names.iter().cloned().zip(row.iter().map(|field| if field == "\0" && !quoted { serde_json::Value::Null } else { field.as_str().into() })).collect();
                prop_assert_eq!(value, serde_json::Value::Object(expected));
            }
        }
    }
}

fn cuts_are_sound(file: &[u8], dialect: Dialect, wished: &[u64]) -> Result<(), TestCaseError> {
    let all = starts(file, dialect, 1..=file.len() as u64);
    let starts = starts(file, dialect, wished.iter().copied());
    // Each is the first start at or behind its wished place.
    let mut expected: Vec<u64> = wished.iter().filter_map(|wished| all.iter().copied().find(|start| start >= wished)).collect();
    expected.dedup();
    prop_assert_eq!(&starts, &expected);
    let ends = starts.iter().copied().chain([file.len() as u64]);
    let mut begin = 0;
    let mut pieces = Vec::new();
    for end in ends {
        pieces.extend(records(&file[begin as usize..end as usize], dialect, 5));
        begin = end;
    }
    prop_assert_eq!(pieces, records(file, dialect, 1 << 20));
    // From any start on the same starts are found.
    for (index, start) in all.iter().enumerate() {
        let from = row_starts(&file[*start as usize..], dialect, *start, start + 1..=file.len() as u64, |_| {}).unwrap();
        prop_assert_eq!(&from.starts, &all[index + 1..]);
    }
    Ok(())
}
