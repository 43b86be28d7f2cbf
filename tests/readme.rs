//! The SQL of the README, and of the guide to the engines, which goes on with its database, run as it stands there: block by
//! block in psql, each as the role its first line names, with the output that it prints below.

use std::io::Write;
use std::process::Stdio;
use thorbis_tests::{Cluster, ok};

/// In the order in which they are read.
const TEXTS: [(&str, &str); 2] =
    [("README", include_str!("../README.md")), ("ENGINES", include_str!("../docs/ENGINES.md"))];

struct Block {
    /// Text and line, for messages.
    place: String,
    language: String,
    text: String,
    /// Nothing but empty lines stands between it and the block before.
    follows_directly: bool,
}

/// Every fenced block.
fn blocks(name: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut open, mut text_between) = (false, true);
    for (i, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(language), false) => {
                let (language, follows_directly) = (language.to_owned(), !text_between);
                let place = format!("{name} line {}", i + 1);
                blocks.push(Block { place, language, text: String::new(), follows_directly });
                open = true;
            }
            (Some(_), true) => (open, text_between) = (false, false),
            (None, true) => {
                let block = blocks.last_mut().expect("a block is open");
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => text_between |= !line.trim().is_empty(),
        }
    }
    assert!(!open, "a block of {name} is not closed");
    blocks
}

/// What psql prints: (standard output, messages).
fn psql(server: &Cluster, role: &str, sql: &str) -> (String, String) {
    let mut command = server.program("psql");
    command.args(["--no-psqlrc", "--dbname=shop", "--username", role]);
    command.env_remove("PGOPTIONS").env("PGCLIENTENCODING", "UTF8");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("psql is installed with the server");
    child.stdin.take().expect("it is piped").write_all(sql.as_bytes()).expect("psql reads it");
    let output = child.wait_with_output().expect("psql ends");
    let [printed, messages] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "psql as {role}:\n{messages}");
    (printed, messages)
}

/// The lines that mean something: `...` stands for what is left out.
fn significant(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty() && line.trim() != "...")
}

/// The output that is shown is part of what was printed, in its order.
fn assert_printed(place: &str, expected: &str, printed: &str) {
    let mut rest = significant(printed);
    for wanted in significant(expected) {
        let found = rest.any(|line| line == wanted);
        assert!(found, "{place}: {wanted:?} is not (or not in this order) in what psql printed:\n{printed}");
    }
}

#[test]
fn every_block_does_what_it_says() {
    // Roles and databases with the README's own names: on a server of its own nobody else has them.
    let server = Cluster::fresh("readme");
    ok(server.maintenance().batch_execute("CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8'"));
    let blocks: Vec<Block> = TEXTS.into_iter().flat_map(|(name, text)| blocks(name, text)).collect();
    let (mut run, mut refusals) = (0, 0);
    for (i, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "sql") {
        let first = block.text.lines().next().unwrap_or_default();
        let role = match first.strip_prefix("-- as ") {
            // Supabase has another superuser and other schemas.
            Some("supabase_admin") => continue,
            Some("superuser") => "postgres",
            Some(role) => role,
            None => panic!("{}: the block does not say who runs it: {first}", block.place),
        };
        println!("{}: as {role}", block.place);
        let (printed, messages) = psql(&server, role, &block.text);
        let shown = blocks.get(i + 1).filter(|next| next.language.is_empty() && next.follows_directly);
        let errors = messages.lines().filter(|line| line.starts_with("ERROR:")).count();
        match shown {
            Some(shown) if shown.text.starts_with("ERROR:") => {
                assert_eq!(errors, 1, "{}:\n{messages}", block.place);
                assert_printed(&shown.place, &shown.text, &messages);
                refusals += 1;
            }
            _ => {
                assert_eq!(errors, 0, "{}:\n{messages}", block.place);
                shown.into_iter().for_each(|shown| assert_printed(&shown.place, &shown.text, &printed));
            }
        }
        // What it says in comments and in words.
        if block.text.contains("-- 0: no context, no rows") {
            assert_printed(&block.place, " Grace      | Hopper\n count\n     0\n(1 row)", &printed);
        }
        if role == "bi_bluedoor" {
            assert_printed(&block.place, " Hopper\n(1 row)", &printed);
        }
        run += 1;
    }
    assert!(run >= 15 && refusals >= 2, "{run} blocks run, {refusals} of them refused");
}
