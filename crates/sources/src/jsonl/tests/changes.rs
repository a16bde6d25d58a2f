//! A file that is not what was planned.

use super::*;

/// A file of 300 kB and its plan of several shards.
fn setup() -> (Folder, PathBuf, FileRules, Plan) {
    let folder = Folder::new();
    let path = folder.write("a.jsonl", b"{\"n\":1234567}\n".repeat(20_000));
    folder.write("b.jsonl", "{}\n");
    let source = folder.source(&["*.jsonl"]);
    let plan = planned(&source, 100_000, None);
    (folder, path, source, plan)
}

fn edit(path: &Path) -> std::fs::File {
    std::fs::File::options().read(true).write(true).open(path).unwrap()
}

#[test]
fn each_change_is_named_when_a_job_continues() {
    let (folder, path, source, plan) = setup();
    unchanged(&plan, &source).unwrap();
    let modified = edit(&path).metadata().unwrap().modified().unwrap();
    let original = std::fs::read(&path).unwrap();

    edit(&path).set_len(original.len() as u64 - 1).unwrap();
    said(unchanged(&plan, &source), &path, "is shorter than planned: 279999 bytes instead of 280000");
    std::fs::write(&path, [&original[..], b"x"].concat()).unwrap();
    said(unchanged(&plan, &source), &path, "is longer than planned");
    std::fs::write(&path, &original).unwrap();
    edit(&path).set_modified(modified + std::time::Duration::from_nanos(1)).unwrap();
    said(unchanged(&plan, &source), &path, "has the planned size and the same first and last 64 KiB, but was modified at ");
    let found = changes(&plan, &source).unwrap();
    assert!(found.only_times() && found.retimed[0].facts.differs_in_time_alone(&plan.objects[0]), "{found:?}");
    let text = found.error(true).0;
    let (_, times) = text.split_once("was modified at ").unwrap();
    let (now, then) = times.split_once("; ").unwrap().0.split_once(" instead of ").unwrap();
    assert!(now > then && now.len() == "2026-11-23 08:35:28.123456789 UTC".len(), "to the nanosecond: {text}");
    assert!(found.error(true).0.ends_with("; `--accept mtime` lets that pass"), "{found:?}");
    let mut retimed = plan.clone();
    retimed.replace(0, found.retimed[0].facts.clone()).unwrap();
    unchanged(&retimed, &source).unwrap();
    // Another time and other bytes.
    std::fs::write(&path, original.to_ascii_uppercase()).unwrap();
    edit(&path).set_modified(modified + std::time::Duration::from_nanos(1)).unwrap();
    said(unchanged(&plan, &source), &path, "its modification time and its first or last 64 KiB differ");

    // Replaced with the same size and time, once at each end.
    for at in [0, original.len() - 2] {
        let mut other = original.clone();
        other[at] = b'!';
        std::fs::write(&path, other).unwrap();
        edit(&path).set_modified(modified).unwrap();
        said(unchanged(&plan, &source), &path, "other bytes");
    }
    std::fs::write(&path, &original).unwrap();
    edit(&path).set_modified(modified).unwrap();
    unchanged(&plan, &source).unwrap();

    let new = folder.write("aa.jsonl", "{}\n");
    said(unchanged(&plan, &source), &new, "did not when planned");
    std::fs::remove_file(&new).unwrap();
    let last = folder.write("z.jsonl", "{}\n");
    said(unchanged(&plan, &source), &last, "did not when planned");
    unchanged(&Plan { limit_reached: true, ..plan.clone() }, &source).unwrap();
    std::fs::remove_file(&last).unwrap();

    let narrower = folder.source(&["a.jsonl"]);
    said(unchanged(&plan, &narrower), &folder.path().join("b.jsonl"), "no longer matches");
    let reordered = folder.source(&["b.jsonl", "a.jsonl"]);
    said(unchanged(&plan, &reordered), &path, "no longer among the source's files at its place");
    std::fs::remove_file(&path).unwrap();
    said(unchanged(&plan, &source), &path, "is gone");
}

/// However it is called: the plan's name is the file's.
#[test]
fn a_new_hard_link_is_another_name_of_a_planned_file() {
    let (folder, path, source, plan) = setup();
    let [before, behind] = ["Z-first.jsonl", "z-last.jsonl"].map(|name| folder.path().join(name));
    for link in [&before, &behind] {
        std::fs::hard_link(&path, link).unwrap();
        unchanged(&plan, &source).unwrap();
    }
    unchanged(&plan, &folder.source(&["z*.jsonl", "Z*.jsonl", "a.jsonl", "b.jsonl"])).unwrap();
    // The planned name is gone, and the file is there under another one: that is a change.
    std::fs::remove_file(&path).unwrap();
    said(unchanged(&plan, &source), &path, "is gone");
    assert_eq!(changes(&plan, &source).unwrap().new, std::slice::from_ref(&before));
    // Two files of the plan that are one now.
    let (folder, path, source, plan) = setup();
    let b = folder.path().join("b.jsonl");
    std::fs::remove_file(&b).unwrap();
    std::fs::hard_link(&path, &b).unwrap();
    let changes = changes(&plan, &source).unwrap();
    assert!(changes.new.is_empty() && changes.changed.len() == 1, "{changes:?}");
    said(unchanged(&plan, &source), &b, "is longer than planned");
}

/// A file that was renamed is not a new one: its records would be sent twice.
#[test]
fn a_file_under_another_name_is_told_as_such() {
    let (folder, path, source, plan) = setup();
    let renamed = folder.path().join("y.jsonl");
    std::fs::rename(&path, &renamed).unwrap();
    let found = changes(&plan, &source).unwrap();
    assert!(!found.only_new() && found.new == [renamed.clone()], "{found:?}");
    let it_is = format!("; it is probably {} now, which has the same size and the same ends", renamed.display());
    said(unchanged(&plan, &source), &path, &it_is);
    // Rotated: a new file has its name.
    folder.write("a.jsonl", "{}\n");
    said(unchanged(&plan, &source), &path, &it_is);
}

#[test]
fn files_that_came_later_have_an_order_of_their_own() {
    let (folder, path, source, plan) = setup();
    let (first, last) = (folder.write("0.jsonl", "{\"n\":0}\n"), folder.write("c.jsonl", "{\"n\":1}\n"));
    let empty = folder.write("d.jsonl", "");
    std::os::unix::fs::symlink(&path, folder.path().join("link.jsonl")).unwrap();
    let copy = folder.write("z.jsonl", std::fs::read(&path).unwrap());
    let later = beside(&plan, &source);
    let names = |plan: &Plan| plan.objects.iter().map(|object| object.path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&later), [first.clone(), last, empty, copy.clone()]);
    assert!(later.shards.iter().flat_map(|shard| later.segments(shard)).all(|segment| segment.object != 2), "it is empty");
    for note in [
        format!("{}: comes before planned files by its name, and is sent behind them, as all files that", first.display()),
        format!(
            "{}: has the size and the first and last 64 KiB of {}, which is planned already",
            copy.display(),
            path.display()
        ),
    ] {
        assert!(later.notes.iter().any(|told| told.contains(&note)), "{note}: {:#?}", later.notes);
    }
    let mut both = plan.clone();
    both.extend(later, 1).unwrap();
    unchanged(&both, &source).unwrap();
    let new = folder.write("1.jsonl", "{}\n");
    assert_eq!(changes(&both, &source).unwrap().new, std::slice::from_ref(&new));
    both.extend(beside(&both, &source), 1).unwrap();
    unchanged(&both, &source).unwrap();
    assert_eq!(read_all(&both, MAX_LINE).unwrap().len(), 40_000 + 4);
    // Another order of the patterns is one within the files that were planned together.
    said(unchanged(&both, &folder.source(&["z*", "[!z]*"])), &first, "no longer among the source's files at its place");
    assert!(beside(&both, &source).objects.is_empty(), "nothing is new");
}

#[test]
fn an_empty_file_that_grows_is_a_change() {
    let folder = Folder::new();
    folder.write("a.jsonl", "{}\n");
    let empty = folder.write("b.jsonl", "");
    let source = folder.source(&["*.jsonl"]);
    let plan = planned(&source, 100_000, None);
    assert!(plan.shards.iter().flat_map(|shard| plan.segments(shard)).all(|segment| segment.object == 0), "it is in no shard");
    unchanged(&plan, &source).unwrap();
    std::fs::write(&empty, "{}\n{}\n").unwrap();
    said(unchanged(&plan, &source), &empty, "is longer than planned: 6 bytes instead of 0");
}

#[test]
fn all_changes_are_told_together() {
    let (folder, path, source, plan) = setup();
    assert!(changes(&plan, &source).unwrap().is_empty());
    // Only new ones: nothing planned is touched.
    for i in 0..12 {
        folder.write(&format!("c{i:02}.jsonl"), "{}\n");
    }
    let found = changes(&plan, &source).unwrap();
    assert!(found.only_new() && found.new.len() == 12);
    let text = found.error(true).0;
    assert!(text.contains("all records of the plan's files were sent or set aside, and none of them"), "{text}");
    assert!(text.contains("c09.jsonl, and 2 more: match the source's paths now"), "{text}");
    assert!(!text.contains("put the file back"), "{text}");
    assert!(!found.error(false).0.contains("were sent"));
    // With a limit that was reached what comes after the plan's files does not matter, what comes before does.
    let limited = Plan { limit_reached: true, ..plan.clone() };
    assert!(changes(&limited, &source).unwrap().is_empty());
    let before = folder.write("a0.jsonl", "{}\n");
    assert_eq!(changes(&limited, &source).unwrap().new, [std::fs::canonicalize(&before).unwrap()]);
    // Gone and changed ones beside them.
    edit(&path).set_len(7).unwrap();
    std::fs::remove_file(folder.path().join("b.jsonl")).unwrap();
    let found = changes(&plan, &source).unwrap();
    let text = found.error(true).0;
    assert!(!found.only_new() && found.changed.len() == 2);
    for part in ["a.jsonl: is shorter than planned", "b.jsonl: was 3 bytes long when planned and is gone", "a0.jsonl, "] {
        assert!(text.contains(part), "`{text}` lacks `{part}`");
    }
    assert_eq!(text.lines().count(), 1, "a reason is one line: {text}");
}

#[test]
fn a_changed_file_is_not_opened() {
    let (_folder, path, _source, plan) = setup();
    edit(&path).set_len(279_999).unwrap();
    said(read(&plan, ShardId(0), Position::default(), MAX_LINE), &path, "is shorter than planned");
    std::fs::remove_file(&path).unwrap();
    said(read(&plan, ShardId(0), Position::default(), MAX_LINE), &path, "can't be read");
}

#[test]
fn half_a_line_at_a_cut_is_never_a_record() {
    let (_folder, path, _source, plan) = setup();
    let modified = edit(&path).metadata().unwrap().modified().unwrap();
    let end = plan.segments(&plan.shards[0])[0].end as usize;
    for max_line in [MAX_LINE, 5] {
        let mut bytes = b"{\"n\":1234567}\n".repeat(20_000);
        // The line that ended at the cut goes on; size and time stay.
        bytes[end - 1] = b' ';
        std::fs::write(&path, bytes).unwrap();
        edit(&path).set_modified(modified).unwrap();
        said(read(&plan, ShardId(0), Position::default(), max_line), &path, &format!("no line ends at byte {end}"));
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("instead of", |path| edit(path).set_len(50_000).unwrap()),
        ("is longer", |path| edit(path).set_len(300_000).unwrap()),
        ("if its bytes are the planned ones, run again with `--accept mtime`", |path| {
            edit(path).set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
        ("but was modified at ", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, bytes).unwrap();
            edit(path).set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
    ];
    for (words, change) in changes {
        let (_folder, path, _source, plan) = setup();
        let mut reader = open(&plan, ShardId(0), Position::default()).unwrap();
        let (mut pool, mut lines) = (BlockPool::new(0), Rows::default());
        assert_eq!(reader.next(&mut pool, &mut lines).unwrap(), Next::Rows);
        change(&path);
        let end = drain(reader.as_mut(), Position::default()).and_then(|_| reader.unchanged());
        said(end, &path, words);
    }
}
