//! The policies a table shall have, written as PostgreSQL prints them, so that they can be compared with the catalog.

use crate::deploy::extension_schema;
use crate::domain::names;
use crate::protect::grants::{APP, AUDITOR};
use crate::protect::options::{Command, Options};
use pgrx::spi::{quote_identifier, quote_literal};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub name: String,
    /// None is FOR ALL.
    pub command: Option<Command>,
    pub permissive: bool,
    /// The one role it is for; None is PUBLIC.
    pub role: Option<&'static str>,
    pub using: Option<String>,
    pub check: Option<String>,
}

impl Policy {
    pub fn create(&self, table: &str) -> String {
        let mut sql = format!("CREATE POLICY {} ON {table}", quote_identifier(&self.name));
        if !self.permissive {
            sql += " AS RESTRICTIVE";
        }
        sql += &format!(" FOR {} TO {}", self.command.map_or("ALL", Command::sql), self.role.unwrap_or("PUBLIC"));
        if let Some(using) = &self.using {
            sql += &format!(" USING ({using})");
        }
        if let Some(check) = &self.check {
            sql += &format!(" WITH CHECK ({check})");
        }
        sql
    }
}

/// Every policy of a protected table. `permitted_tenant_id` is no sub-select: so it stays an index condition, and the
/// planner knows the tenant. What must hold is ANDed inside one permissive policy a command; the restrictive one is a
/// backstop against somebody's later `USING (true)`, and everything is already true without it.
pub fn desired(table: &str, resource: &str, options: &Options) -> Vec<Policy> {
    let functions = Functions::new(resource, options);
    let mut policies = Vec::new();
    for command in Command::ALL.into_iter().filter(|c| options.allows(*c)) {
        let condition = functions.condition(command);
        let (using, check) = match command {
            Command::Insert => (None, Some(condition)),
            Command::Update => (Some(condition.clone()), Some(condition)),
            Command::Select | Command::Delete => (Some(condition), None),
        };
        let name = options.policy_name(table, command);
        policies.push(Policy { name, command: Some(command), permissive: true, role: Some(APP), using, check });
    }
    if let Some(own) = &options.own_rows {
        let condition = functions.own_rows(&own.user_column);
        let policy = |name: String, command, check| Policy {
            name,
            command: Some(command),
            permissive: true,
            role: Some(APP),
            using: Some(condition.clone()),
            check,
        };
        policies.push(policy(own.policy.clone(), Command::Select, None));
        if !own.update_columns.is_empty() {
            let name = names::derived("", &own.policy, "_update");
            policies.push(policy(name, Command::Update, Some(condition.clone())));
        }
    }
    if options.auditor {
        policies.push(Policy {
            name: names::derived("", table, "_auditor"),
            command: Some(Command::Select),
            permissive: true,
            role: Some(AUDITOR),
            using: Some(functions.tenant_is("get_current_tenant_id()")),
            check: None,
        });
    }
    policies.push(Policy {
        name: names::derived("tenant_isolation_", table, ""),
        command: None,
        permissive: false,
        role: None,
        using: Some(functions.backstop()),
        check: Some(functions.tenant_is("get_current_tenant_id()")),
    });
    policies
}

/// Calls of our functions, qualified with the schema the extension was created in.
struct Functions<'a> {
    schema: String,
    resource: String,
    options: &'a Options,
}

impl<'a> Functions<'a> {
    fn new(resource: &str, options: &'a Options) -> Self {
        Functions { schema: extension_schema(), resource: format!("{}::text", quote_literal(resource)), options }
    }

    fn tenant_is(&self, call: &str) -> String {
        format!("({} = {}.{call})", quote_identifier(&self.options.tenant_column), self.schema)
    }

    fn has(&self, action: &str) -> String {
        format!("{}.has_permission({}, '{action}'::text)", self.schema, self.resource)
    }

    fn condition(&self, command: Command) -> String {
        let mut terms = vec![if self.options.permissions {
            self.permitted(command)
        } else {
            self.tenant_is("get_current_tenant_id()")
        }];
        // Not for INSERT: what is new is nothing to see. For the others, an UPDATE that reads no column would otherwise
        // reach rows that cannot be seen now.
        if self.options.business_hours && command != Command::Insert {
            terms.push(format!("{}.within_business_hours({})", self.schema, self.resource));
        }
        if let Some(sensitive) = &self.options.sensitive {
            let column = quote_identifier(&sensitive.column);
            let key = quote_literal(&sensitive.key);
            terms.push(format!("((NOT ({column} ? {key}::text)) OR {})", self.has("admin")));
        }
        and(terms)
    }

    /// The tenant once more, in the words of the SELECT policy where rows are read by permission alone: the planner then
    /// sees one condition. Two different functions would cost it a node above every scan, half of a read by key.
    /// Whoever changes rows must be able to read them.
    fn backstop(&self) -> String {
        let by_permission = self.options.permissions && self.options.allows(Command::Select);
        if by_permission && self.options.own_rows.is_none() && !self.options.auditor {
            self.permitted(Command::Select)
        } else {
            self.tenant_is("get_current_tenant_id()")
        }
    }

    fn permitted(&self, command: Command) -> String {
        self.tenant_is(&format!("permitted_tenant_id({}, '{}'::text)", self.resource, command.action()))
    }

    fn own_rows(&self, user_column: &str) -> String {
        // NULL for a user who is deleted or inactive.
        let user = format!("({} = {}.get_current_actor_id())", quote_identifier(user_column), self.schema);
        and(vec![self.tenant_is("get_current_tenant_id()"), user])
    }
}

fn and(terms: Vec<String>) -> String {
    match terms.len() {
        1 => terms.into_iter().next().unwrap_or_default(),
        _ => format!("({})", terms.join(" AND ")),
    }
}
