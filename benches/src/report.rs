//! The table at the end.

/// What was promised of a line.
pub enum Bound {
    None,
    /// Measured divided by what it is compared with.
    Ratio(f64),
    /// Measured, in nanoseconds.
    Nanoseconds(f64),
    /// True or false, without a number.
    Claim(bool),
}

pub struct Section {
    pub title: &'static str,
    pub lines: Vec<Line>,
}

pub struct Line {
    what: &'static str,
    /// Nanoseconds.
    measured: Option<f64>,
    /// What it is compared with, and its nanoseconds.
    against: Option<(&'static str, f64)>,
    bound: Bound,
}

impl Line {
    pub fn new(what: &'static str, measured: f64) -> Line {
        Line { what, measured: Some(measured), against: None, bound: Bound::None }
    }

    pub fn claim(what: &'static str, holds: bool) -> Line {
        Line { what, measured: None, against: None, bound: Bound::Claim(holds) }
    }

    pub fn against(mut self, name: &'static str, nanoseconds: f64) -> Line {
        self.against = Some((name, nanoseconds));
        self
    }

    pub fn bound(mut self, bound: Bound) -> Line {
        self.bound = bound;
        self
    }

    fn ratio(&self) -> Option<f64> {
        Some(self.measured? / self.against?.1)
    }

    /// The bound as text and whether it was met; None where nothing was promised.
    fn verdict(&self) -> Option<(String, bool)> {
        match self.bound {
            Bound::None => None,
            Bound::Ratio(most) => {
                Some((format!("<= {}", times(most)), self.ratio().is_some_and(|ratio| ratio <= most)))
            }
            Bound::Nanoseconds(most) => {
                Some((format!("<= {most:.0} ns"), self.measured.is_some_and(|measured| measured <= most)))
            }
            Bound::Claim(holds) => Some((String::new(), holds)),
        }
    }
}

pub fn print(heading: &str, sections: &[Section]) {
    println!("{heading}");
    let mut missed = 0;
    for Section { title, lines } in sections {
        println!("\n{title}");
        println!("  {:<46} {:>9}  {:>24}  {:>6}  bound", "", "measured", "compared with", "ratio");
        for line in lines {
            let measured = line.measured.map(duration).unwrap_or_default();
            let against = line.against.map_or(String::new(), |(name, other)| format!("{name} {:>9}", duration(other)));
            let ratio = line.ratio().map(times).unwrap_or_default();
            let verdict = match line.verdict() {
                None => String::new(),
                Some((bound, true)) => format!("{bound:<9} met"),
                Some((bound, false)) => {
                    missed += 1;
                    format!("{bound:<9} BOUND MISSED")
                }
            };
            let text = format!("  {:<46} {measured:>9}  {against:>24}  {ratio:>6}  {verdict}", line.what);
            println!("{}", text.trim_end());
        }
    }
    match missed {
        0 => println!("\nEvery bound was met."),
        _ => println!("\nBOUND MISSED: {missed}"),
    }
}

fn duration(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds.abs() {
        n if n < 1e3 => (nanoseconds, "ns"),
        n if n < 1e6 => (nanoseconds / 1e3, "us"),
        n if n < 1e9 => (nanoseconds / 1e6, "ms"),
        _ => (nanoseconds / 1e9, "s"),
    };
    format!("{value:.*} {unit}", if value.abs() < 100.0 { 1 } else { 0 })
}

/// `1.02`, `83`, and `1/105` for what is far cheaper than what it is compared with.
fn times(ratio: f64) -> String {
    match ratio {
        r if r <= 0.0 => "-".to_owned(),
        r if r < 0.1 => format!("1/{:.0}", 1.0 / r),
        r if r < 10.0 => format!("{r:.2}"),
        r => format!("{r:.0}"),
    }
}
