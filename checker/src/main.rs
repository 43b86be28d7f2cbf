//! thorbis-check-proof PROOF.json [--root HEX]
//!
//! Exit status: 0 the proof holds, 1 it does not, 2 it could not be checked.

use std::process::ExitCode;
use thorbis_check_proof::{check, domain::merkle::Hash256};

const USAGE: &str = "usage: thorbis-check-proof PROOF.json [--root HEX]
  PROOF.json  what SELECT audit.prove(id) returned; - reads it from the standard input
  --root HEX  a hash exported from audit.roots, of the row's seal or a later one that the proof reaches to";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (file, root) = match arguments[..] {
        ["-h" | "--help"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [file] if !file.starts_with("--") => (file, None),
        [file, "--root", root] | ["--root", root, file] => (file, Some(root)),
        _ => return unchecked(USAGE),
    };
    let root = match root.map(str::parse::<Hash256>).transpose() {
        Ok(root) => root,
        Err(e) => return unchecked(&format!("--root: {e}\n{USAGE}")),
    };
    let read = if file == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    let json = match read {
        Ok(json) => json,
        Err(e) => return unchecked(&format!("{file}: {e}")),
    };
    match check(&json, root) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(1)
        }
    }
}

fn unchecked(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}
