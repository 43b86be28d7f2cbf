//! What one user may do in one tenant.

/// The action that implies every other action on its resource.
pub const ADMIN: &str = "admin";

/// The permissions of one user in one tenant, resolved: roles, inherited roles and break-glass grants folded together.
#[derive(Debug, Default)]
pub struct Permissions {
    /// The user has a live row in `shared.users`: it can be the `created_by` of something.
    pub user_exists: bool,
    /// The user holds a role marked `is_owner`: every permission of the tenant.
    pub owner: bool,
    /// By resource, sorted: a few dozen at most, where a binary search beats hashing the text.
    actions: Vec<(Box<str>, Vec<Box<str>>)>,
}

impl Permissions {
    pub fn grant(&mut self, resource: &str, action: &str) {
        let place = self.find(resource).unwrap_or_else(|free| {
            self.actions.insert(free, (resource.into(), Vec::new()));
            free
        });
        let actions = &mut self.actions[place].1;
        if !actions.iter().any(|held| &**held == action) {
            actions.push(action.into());
        }
    }

    /// `admin` on a resource implies its every action; an owner holds everything.
    pub fn allow(&self, resource: &str, action: &str) -> bool {
        self.owner
            || self
                .find(resource)
                .is_ok_and(|place| self.actions[place].1.iter().any(|held| &**held == action || &**held == ADMIN))
    }

    fn find(&self, resource: &str) -> Result<usize, usize> {
        self.actions.binary_search_by(|(held, _)| (**held).cmp(resource))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_implies_every_action_of_its_resource_only() {
        let mut p = Permissions::default();
        p.grant("orders", "admin");
        p.grant("menu", "read");
        assert!(p.allow("orders", "delete"));
        assert!(p.allow("menu", "read"));
        assert!(!p.allow("menu", "update"));
        assert!(!p.allow("customers", "read"));
    }

    #[test]
    fn nothing_is_allowed_by_default_and_everything_to_an_owner() {
        assert!(!Permissions::default().allow("orders", "read"));
        assert!(Permissions { owner: true, ..Default::default() }.allow("orders", "read"));
    }

    #[test]
    fn resource_and_action_do_not_run_together() {
        let mut p = Permissions::default();
        p.grant("a", "b:c");
        assert!(!p.allow("a:b", "c"));
    }
}
