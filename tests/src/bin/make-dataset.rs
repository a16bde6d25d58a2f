//! Makes the example dataset: orders as JSON lines, the same bytes for the same arguments, no two lines alike.
//!
//! `make-dataset [--records N] [--files N] [--out DIR] [--seed N] [--bytes-per-line N]`
//!
//! Customers are drawn by a flattened Zipf law (weight of the k-th: k^-0.7), so that some keys are hot but none
//! dominates: with the default size each of 16 murmur2 partitions stays below 4 MiB (a test of the library counts
//! them). Files are written beside their final name and renamed, so that an interrupted run leaves no half dataset.
//!
//! Not responsible for hostile lines: tests write those themselves.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use whole_program::dataset::Orders;

/// What was asked for.
struct Request {
    records: u64,
    files: u64,
    out: PathBuf,
    seed: u64,
    bytes_per_line: usize,
}

const USAGE: &str = "usage: make-dataset [--records 250000] [--files 4] [--out data] [--seed 1] [--bytes-per-line 0]
  writes OUT/orders-0001.jsonl and so on; older orders-*.jsonl of OUT are replaced
  --bytes-per-line N   adds a note to lines shorter than N, line end included (natural length: about 135)";

fn main() -> ExitCode {
    let request = match parse(std::env::args().skip(1)) {
        Ok(Some(request)) => request,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("make-dataset: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match write_all(&request) {
        Ok(bytes) => {
            eprintln!("{} records, {bytes} bytes in {} files under {}", request.records, request.files, request.out.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("make-dataset: can't write to {}: {error}", request.out.display());
            ExitCode::FAILURE
        }
    }
}

/// `None` = help was asked for.
fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Request>, String> {
    let mut request = Request { records: 250_000, files: 4, out: PathBuf::from("data"), seed: 1, bytes_per_line: 0 };
    while let Some(flag) = words.next() {
        if flag == "--help" || flag == "-h" {
            return Ok(None);
        }
        let value = words.next().ok_or(format!("{flag} needs a value"))?;
        let number = || value.replace('_', "").parse::<u64>().map_err(|_| format!("{flag} takes a number, not {value:?}"));
        match flag.as_str() {
            "--records" => request.records = number()?,
            "--files" => request.files = number()?.max(1),
            "--seed" => request.seed = number()?,
            "--bytes-per-line" => request.bytes_per_line = usize::try_from(number()?).map_err(|error| error.to_string())?,
            "--out" => request.out = PathBuf::from(value),
            _ => return Err(format!("unknown argument {flag}")),
        }
    }
    Ok(Some(request))
}

/// Writes all files and returns their size together.
fn write_all(request: &Request) -> io::Result<u64> {
    fs::create_dir_all(&request.out)?;
    let mut orders = Orders::new(request.seed, request.records, request.bytes_per_line);
    let mut bytes = 0;
    let mut done = Vec::new();
    for file in 0..request.files {
        let count = request.records * (file + 1) / request.files - request.records * file / request.files;
        let name = request.out.join(format!("orders-{:04}.jsonl", file + 1));
        let part = name.with_extension("jsonl.part");
        bytes += write_file(&part, &mut orders, count)?;
        done.push((part, name));
    }
    remove_older(&request.out)?;
    done.iter().try_for_each(|(part, name)| fs::rename(part, name))?;
    Ok(bytes)
}

fn write_file(path: &Path, orders: &mut Orders, count: u64) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut line = Vec::with_capacity(512);
    let mut bytes = 0;
    for _ in 0..count {
        line.clear();
        orders.next_line(&mut line);
        out.write_all(&line)?;
        bytes += line.len() as u64;
    }
    out.flush()?;
    Ok(bytes)
}

/// Removes the files of an earlier call, which may have been more than this one's.
fn remove_older(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("orders-") && name.ends_with(".jsonl") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
