//! The kinds of files that are told apart, what each is called, and what a user can do with one.

use std::path::Path;

use migration::Compression;
use migration::printable::printable_path;

use super::super::names::{self, NameEnding};

/// A kind of file.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Known {
    /// What it is called: `is …`.
    pub(super) what: &'static str,
    pub(super) class: Class,
    remedy: Remedy,
}

/// What kinds have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// No record at all.
    Blank,
    /// A JSON value on each line, most of them objects or not.
    Objects,
    Values,
    /// JSON in another form.
    Json,
    /// What stands in the place of a file: a page of a server, a pointer.
    Stand,
    /// Other text.
    Text,
    /// Text in which zero bytes stand.
    Zeros,
    /// No text in UTF-8 or anything like it.
    Foreign,
}

/// How lines of JSON are made of a file. `FILE` and `LINES` are its name and that of the file that is made.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    None,
    /// A command that reads files that are named, or what is handed to it.
    Filter(&'static str),
    /// A command that reads only what is handed to it.
    Stdin(&'static str),
    /// A command that unpacks the named file.
    Unpack(&'static str),
    /// A command with `FILE` and `LINES`.
    Command(&'static str),
    /// A command that reads what is handed to it and writes it in UTF-8.
    Recode(&'static str),
    /// Words, in which `FILE` and `LINES` may stand.
    Words(&'static str),
}

impl Known {
    /// Whether it is a JSON value on each line.
    pub(super) fn is_lines(&self) -> bool {
        matches!(self.class, Class::Objects | Class::Values)
    }

    /// What to do with such a file, with the commands for this one.
    pub(super) fn remedy(&self, path: &Path, compression: Compression) -> Option<String> {
        let file = quoted(&printable_path(path));
        let lines = quoted(&printable_path(&lines_of(path)));
        let unpacker = match compression {
            Compression::None => None,
            Compression::Gzip => Some("zcat"),
            Compression::Zstd => Some("zstdcat"),
        };
        let piped = |filter: &str| unpacker.map(|unpacker| format!("{unpacker} {file} | {filter} > {lines}"));
        let command = |command: String| Some(format!("to make lines of JSON of it: `{command}`"));
        match self.remedy {
            Remedy::None => None,
            Remedy::Filter(filter) => command(piped(filter).unwrap_or_else(|| format!("{filter} {file} > {lines}"))),
            Remedy::Stdin(filter) => command(piped(filter).unwrap_or_else(|| format!("{filter} < {file} > {lines}"))),
            Remedy::Unpack(unpack) => {
                let unpacked = quoted(&printable_path(&unpacked_of(path)));
                let unpack = unpacker.map_or(format!("{unpack} {file}"), |first| format!("{first} {file} | {unpack}"));
                Some(format!("unpack it (`{unpack} > {unpacked}`), or pack it with gzip or zstd"))
            }
            // A name that is no plain word would be quoted within another language's string.
            Remedy::Command(text) if !is_plain(&printable_path(path)) => Some(format!("to make lines of JSON of it: `{text}`")),
            Remedy::Command(text) => match unpacker {
                None => command(text.replace("FILE", &file).replace("LINES", &lines)),
                Some(unpacker) => {
                    let unpacked = quoted(&printable_path(&unpacked_of(path)));
                    let text = text.replace("FILE", &unpacked).replace("LINES", &lines);
                    Some(format!("unpack it (`{unpacker} {file} > {unpacked}`); to make lines of JSON of that: `{text}`"))
                }
            },
            Remedy::Recode(recode) => {
                let recoded = quoted(&printable_path(&recoded_of(path)));
                let recode = match unpacker {
                    None => format!("{recode} {file}"),
                    Some(unpacker) => format!("{unpacker} {file} | {recode}"),
                };
                Some(format!("to make UTF-8 of it: `{recode} > {recoded}`"))
            }
            Remedy::Words(text) => Some(text.replace("FILE", &file).replace("LINES", &lines)),
        }
    }
}

/// A name for the lines that are made of a file, which is not the file's own.
fn lines_of(path: &Path) -> std::path::PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (base, endings) = names::endings(&name);
    let base = base.rsplit_once('.').filter(|(before, _)| !before.is_empty()).map_or(base, |(before, _)| before);
    let taken = endings.first().is_some_and(|(ending, _)| ending.eq_ignore_ascii_case(".jsonl"));
    path.with_file_name(if taken { format!("{base}.lines.jsonl") } else { format!("{base}.jsonl") })
}

/// A name for what is packed in a file.
fn unpacked_of(path: &Path) -> std::path::PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (base, endings) = names::endings(&name);
    match endings.split_last() {
        Some(((last, NameEnding::Packed), before)) if !before.is_empty() || base.contains('.') => {
            path.with_file_name(&name[..name.len() - last.len()])
        }
        _ => lines_of(path),
    }
}

/// A name for the same text in UTF-8.
fn recoded_of(path: &Path) -> std::path::PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (base, endings) = names::endings(&name);
    let kept = endings.iter().filter(|(_, ending)| *ending != NameEnding::Packed).map(|(text, _)| *text);
    path.with_file_name(match base.rsplit_once('.') {
        Some((base, ending)) if !base.is_empty() && endings.is_empty() => format!("{base}.utf8.{ending}"),
        _ => format!("{base}.utf8{}", kept.collect::<String>()),
    })
}

/// As a word for a shell.
fn quoted(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Whether a shell, and a string of another language, take a text as it is.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+=:,@%".contains(&byte) || byte >= 0x80)
}

macro_rules! known {
    ($($name:ident $class:ident $what:literal $remedy:expr;)*) => {
        $(pub(super) static $name: Known = Known { what: $what, class: Class::$class, remedy: $remedy };)*
    };
}

use Remedy::{Command, Filter, Recode, Stdin, Unpack, Words};

known! {
    BLANK Blank "empty" Remedy::None;
    OBJECTS Objects "lines of JSON objects" Words("[source.jsonl] reads it");
    VALUES Values "lines of JSON values" Words("[source.jsonl] reads it");

    ARRAY Json "a JSON array" Filter("jq -c '.[]'");
    ARRAY_BY_LINE Json "a JSON array with an element on each line" Filter("jq -c '.[]'");
    DOCUMENT Json "one JSON document over several lines" Filter("jq -c .");
    DOCUMENTS Json "JSON objects over several lines each" Filter("jq -c .");
    ON_ONE_LINE Json "JSON objects one behind the other on a line" Filter("jq -c .");
    WITH_COMMAS Json "JSON objects with a comma behind each" Filter("sed 's/,[[:space:]]*$//'");
    SEQUENCE Json "a JSON text sequence (a byte RS, 0x1e, before each record)" Stdin("tr -d '\\036'");
    BULK Json "an Elasticsearch bulk file (a line with an action before each document)"
        Filter("jq -c 'select((keys | length) > 1 or (.index // .create // .update // .delete | type) != \"object\")'");
    PYTHON Text "Python dictionaries (single quotes, no JSON)"
        Stdin("python3 -c 'import ast, json, sys; [print(json.dumps(ast.literal_eval(line))) for line in sys.stdin]'");
    MONGO Text "output of the MongoDB shell (ObjectId(…) is no JSON)"
        Words("`mongoexport` writes lines of JSON");
    JAVASCRIPT Text "JavaScript with a JSON array in it" Words("cut off what stands before the first `[`, then: `jq -c '.[]'`");
    BEHIND_TEXT Text "lines with other text before a JSON object" Filter("sed 's/^[^{]*//'");

    ERROR_PAGE Stand "an error of an object store (XML), not the object" Words("fetch the object again");
    HTML Stand "an HTML page" Words("fetch the file again: this is what a server showed instead");
    XML Stand "XML" Words("convert it to a JSON object on each line");
    LFS Stand "a pointer of Git LFS, not the file" Words("`git lfs pull` fetches the file");

    CSV Text "CSV with a header" Words("[source.csv] makes a JSON object of each row");
    CSV_SEMICOLONS Text "CSV with a header and semicolons"
        Words("[source.csv] with source.csv.delimiter = \";\" makes a JSON object of each row");
    CSV_BARS Text "CSV with a header and vertical bars"
        Words("[source.csv] with source.csv.delimiter = \"|\" makes a JSON object of each row");
    TSV Text "TSV with a header" Words("[source.csv] with source.csv.delimiter = \"\\t\" makes a JSON object of each row");
    CSV_WITHOUT_NAMES Text "CSV without a header"
        Words("[source.csv] with the columns' names in source.csv.header makes a JSON object of each row");
    COPY Text "output of PostgreSQL's COPY (tabs, \\N for null)"
        Words("[source.csv] with source.csv.delimiter = \"\\t\", source.csv.null = \"\\\\N\" and the columns' names in source.csv.header \
               makes a JSON object of each row; `COPY (SELECT row_to_json(t) FROM t) TO …` writes objects");
    SQL Text "a dump of SQL" Words("load it into a database and export its tables as JSON or CSV");
    YAML Text "YAML" Filter("yq -o json -I 0");
    OTHER_ENCODING Text "text in another encoding than UTF-8" Recode("iconv -f LATIN1 -t UTF-8");
    PLAIN Text "plain text" Remedy::None;
    ZEROS Zeros "text with zero bytes in it" Stdin("tr -d '\\000'");

    UTF16 Foreign "UTF-16" Recode("iconv -f UTF-16 -t UTF-8");
    UTF16_LE Foreign "UTF-16 (without a byte order mark)" Recode("iconv -f UTF-16LE -t UTF-8");
    UTF16_BE Foreign "UTF-16 (big-endian, without a byte order mark)" Recode("iconv -f UTF-16BE -t UTF-8");
    UTF32 Foreign "UTF-32" Recode("iconv -f UTF-32 -t UTF-8");
    UTF32_LE Foreign "UTF-32 (without a byte order mark)" Recode("iconv -f UTF-32LE -t UTF-8");
    UTF32_BE Foreign "UTF-32 (big-endian, without a byte order mark)" Recode("iconv -f UTF-32BE -t UTF-8");

    PARQUET Foreign "Parquet" Command("duckdb -c \"COPY (FROM read_parquet('FILE')) TO 'LINES' (FORMAT json)\"");
    ORC Foreign "ORC"
        Command("python3 -c \"import pandas; pandas.read_orc('FILE').to_json('LINES', orient='records', lines=True)\"");
    AVRO Foreign "an Avro object file" Command("avro-tools tojson FILE > LINES");
    ARROW Foreign "Arrow (Feather)"
        Command("python3 -c \"import pandas; pandas.read_feather('FILE').to_json('LINES', orient='records', lines=True)\"");
    ARROW_STREAM Foreign "an Arrow stream" Words("convert it with pyarrow: `pyarrow.ipc.open_stream`");
    BSON Foreign "BSON (of mongodump)" Command("bsondump --quiet FILE > LINES");
    SQLITE Foreign "a SQLite database"
        Words("export its tables: `sqlite3 -csv -header FILE 'SELECT * FROM …'`, and read that with [source.csv]");
    DUCKDB Foreign "a DuckDB database" Words("export its tables: `duckdb FILE -c \"COPY … TO 'LINES' (FORMAT json)\"`");
    PG_DUMP Foreign "a PostgreSQL dump in its own format" Words("restore it, and export its tables as JSON or CSV");
    REDIS Foreign "a Redis dump" Words("export its keys as JSON");
    SEQUENCE_FILE Foreign "a Hadoop sequence file" Words("convert it to JSON lines");
    HDF5 Foreign "HDF5" Words("convert it to JSON lines");
    NUMPY Foreign "a NumPy array" Words("convert it to JSON lines");
    PICKLE Foreign "a Python pickle" Words("write its objects as JSON lines with the program that made it");
    JAVA Foreign "serialised Java objects" Words("write its objects as JSON lines with the program that made it");
    OFFICE Foreign "an Office file (.xlsx, .docx)" Words("save its table as CSV, and read that with [source.csv]");
    OLD_OFFICE Foreign "an old Office file (.xls, .doc)" Words("save its table as CSV, and read that with [source.csv]");
    PDF Foreign "a PDF document" Words("it has no records; take it from the source's paths");
    IMAGE Foreign "an image" Words("it has no records; take it from the source's paths");
    PROGRAM Foreign "a program" Words("it has no records; take it from the source's paths");

    BZIP2 Foreign "bzip2" Unpack("bzip2 -dc");
    XZ Foreign "xz" Unpack("xz -dc");
    LZMA Foreign "lzma" Unpack("xz -dc --format=lzma");
    LZIP Foreign "lzip" Unpack("lzip -dc");
    LZ4 Foreign "lz4" Unpack("lz4 -dc");
    LZO Foreign "lzop" Unpack("lzop -dc");
    SNAPPY Foreign "snappy (framed)" Unpack("snzip -dc");
    SNAPPY_JAVA Foreign "snappy (of snappy-java)" Unpack("snzip -t snappy-java -dc");
    COMPRESS Foreign "compress (.Z)" Unpack("zcat");
    ZLIB Foreign "zlib" Unpack("zlib-flate -uncompress <");
    OLD_ZSTD Foreign "zstd of before version 0.8" Unpack("zstd -dc");
    ZIP Foreign "zip" Unpack("unzip -p");
    JAR Foreign "a Java archive" Words("it has no records; take it from the source's paths");
    SEVEN_ZIP Foreign "7z" Unpack("7z x -so");
    RAR Foreign "rar" Unpack("unrar p -inul");
    TAR Foreign "a tar archive" Words("unpack it (`tar -xf FILE`), and name the files in it");
    AR Foreign "an ar archive" Words("unpack it (`ar x FILE`), and name the files in it");
    TWICE Foreign "packed twice (gzip is in it)" Unpack("zcat");
    TWICE_ZSTD Foreign "packed twice (zstd is in it)" Unpack("zstdcat");
    BINARY Foreign "binary" Words("it is no text: the program that made it may write JSON lines");
}
