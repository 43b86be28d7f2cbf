//! How the totals of a document are stored: the JSON argument of the triggers.

use serde::Deserialize;
use std::collections::BTreeMap;

/// From names in the calculation's input to columns; or from columns to names in its result.
pub type Names = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Both tables as schema.table.
    pub document: String,
    pub lines: String,
    /// The column of the lines that has the document's id.
    pub key: String,
    #[serde(default = "by_id")]
    pub order: Vec<String>,
    /// A column of the lines: those where it has a value do not count.
    pub skip: Option<String>,
    /// jsonb columns of the document and of the lines whose keys are inputs.
    pub pricing: Option<String>,
    pub line_pricing: Option<String>,
    /// Input to column. What is missing of currency, minor_unit, rounding and tax_rounding_level comes from the tenant.
    #[serde(default)]
    pub document_inputs: Names,
    #[serde(default = "price_and_quantity")]
    pub line_inputs: Names,
    /// Column to result.
    pub document_outputs: Names,
    #[serde(default)]
    pub line_outputs: Names,
    /// Column of the document to the values that it has while lines may change; without any they always may.
    #[serde(rename = "while", default)]
    pub open_while: BTreeMap<String, Vec<String>>,
    /// Columns of the document for the version of the calculation and for the digest of its input.
    pub version: Option<String>,
    pub hash: Option<String>,
}

fn by_id() -> Vec<String> {
    vec!["id".into()]
}

fn price_and_quantity() -> Names {
    ["unit_price", "quantity"].map(|name| (name.to_owned(), name.to_owned())).into()
}

impl Spec {
    pub fn parse(json: &str) -> Result<Spec, String> {
        let spec: Spec = serde_json::from_str(json).map_err(|e| e.to_string())?;
        let bare = [&spec.document, &spec.lines].into_iter().find(|name| !name.contains('.'));
        bare.map_or(Ok(()), |name| Err(format!("{name:?} is not schema.table")))?;
        Ok(spec)
    }

    /// The columns of the document that the result depends on.
    pub fn document_input_columns(&self) -> impl Iterator<Item = &String> {
        self.document_inputs.values().chain(&self.pricing)
    }

    /// The state of the document in which lines may change, for messages.
    pub fn rule(&self) -> String {
        let one_of = |(column, values): (&String, &Vec<String>)| format!("{column} ({})", values.join(", "));
        self.open_while.iter().map(one_of).collect::<Vec<_>>().join(" and ")
    }

    /// The columns of the document that nobody else writes.
    pub fn document_output_columns(&self) -> impl Iterator<Item = &String> {
        self.document_outputs.keys().chain(&self.version).chain(&self.hash)
    }

    /// The columns of the lines whose change has the totals made anew: those somebody else wrote are made right.
    pub fn line_columns(&self) -> impl Iterator<Item = &String> {
        let inputs = self.line_inputs.values().chain(&self.line_pricing).chain(&self.skip).chain(&self.order);
        inputs.chain(self.line_outputs.keys()).filter(|name| *name != "id")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_required() {
        let json = r#"{"document": "a.b", "lines": "a.c", "key": "b_id", "document_outputs": {"total": "total"}}"#;
        let spec = Spec::parse(json).unwrap();
        assert_eq!(spec.order, ["id"]);
        assert_eq!(spec.line_columns().collect::<Vec<_>>(), ["quantity", "unit_price"]);
    }

    #[test]
    fn other_things_are_refused() {
        for json in ["", "{}", "[]", r#"{"document": "b", "lines": "a.c", "key": "b_id", "document_outputs": {}}"#] {
            assert!(Spec::parse(json).is_err(), "{json}");
        }
        let json = r#"{"document": "a.b", "lines": "a.c", "key": "x", "document_outputs": {}, "linse": 1}"#;
        assert!(Spec::parse(json).unwrap_err().contains("linse"));
    }
}
