//! What thorbis_db claims about speed, measured side by side: `scripts/bench.sh` starts a private server and runs this.
//!
//! Everything compared runs in alternation, and medians count: absolute numbers depend on the machine and on what else
//! it does, ratios far less. A bound that is missed is printed as such and is no failure of the program.

mod audit;
mod calls;
mod data;
mod domain;
mod measure;
mod personal;
mod reads;
mod report;
mod totals;
mod updates;

use std::process::ExitCode;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            // What the server said is the cause of what its driver says.
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let scale = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => data::FULL,
        [option] if option == "--quick" => data::QUICK,
        _ => return Err("usage: thorbis-bench [--quick], with PGHOST and PGPORT of a server made for it".into()),
    };
    let mut sessions = data::prepare(&scale)?;
    let sections = [
        reads::measure(&mut sessions, &scale)?,
        calls::measure(&mut sessions, &scale)?,
        updates::measure(&mut sessions.superuser, &scale)?,
        personal::measure(&mut sessions, &scale)?,
        audit::measure(&mut sessions.superuser, &scale)?,
        totals::measure(&mut sessions.superuser, &scale)?,
    ];
    report::print(&data::describe(&mut sessions, &scale)?, &sections);
    Ok(())
}
