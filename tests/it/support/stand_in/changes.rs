//! The calls that change one account.

use axum::body::Body;
use axum::http::Response;

use super::answers::{plain, rocket_error};
use super::server::{Incoming, Shared};
use super::{Fault, Moment};

/// The id and the change in `/admin/users/<id>/<change>`, with or without a slash at the end.
pub(super) fn parse(path: &str) -> Option<(&str, &'static str)> {
    let (id, change) = path
        .trim_end_matches('/')
        .strip_prefix("/admin/users/")?
        .split_once('/')?;
    let known = ["deauth", "disable", "enable", "delete", "invite/resend"];
    Some((id, known.into_iter().find(|known| *known == change)?))
}

/// As the real one checks it, before it compares ids by their letters.
pub(super) fn is_uuid(id: &str) -> bool {
    let groups: Vec<_> = id.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Shared {
    pub(super) async fn change(
        &self,
        request: &Incoming,
        id: &str,
        change: &'static str,
        fault: Option<&Fault>,
    ) -> Response<Body> {
        let version = self.setup.version;
        let is_known = change != "invite/resend" || version > (1, 28);
        if !is_known || (version >= (1, 33) && !request.sends_json) {
            return rocket_error(404, request.accepts_json);
        }
        if let Some(refusal) = self.guard(request) {
            return refusal;
        }
        if version >= (1, 33) && !is_uuid(id) {
            return rocket_error(422, request.accepts_json);
        }
        self.moment(Moment::Arrived, fault).await;
        let address = self.address_of(id);
        let refusal = {
            let world = self.world();
            let account = address.as_ref().and_then(|address| world.accounts.get(address));
            match account {
                None if version <= (1, 20) => Some((400, "User doesn't exist")),
                None => Some((404, "User doesn't exist")),
                Some(account) if change == "delete" && account.last_owner => {
                    Some((400, "Can't delete last owner"))
                }
                Some(account) if change == "invite/resend" && !account.invited => {
                    Some((400, "User already accepted invitation"))
                }
                Some(_) => None,
            }
        };
        let address = match (address, refusal) {
            (Some(address), None) => address,
            (_, refusal) => {
                let (status, message) = refusal.unwrap();
                return self.error(status, message);
            }
        };
        if change == "invite/resend" && self.setup.mail {
            self.world().mailed.push(address.clone());
            self.moment(Moment::Mailed, fault).await;
        }
        {
            let mut world = self.world();
            match (change, world.accounts.get_mut(&address)) {
                ("disable", Some(account)) => account.enabled = false,
                ("enable", Some(account)) => account.enabled = true,
                ("delete", _) => drop(world.accounts.remove(&address)),
                _ => {}
            }
            world.changes.push((address, change));
        }
        self.changed.send_replace(());
        self.moment(Moment::Saved, fault).await;
        plain(200, "")
    }

    /// The address of the account with this id.
    pub(super) fn address_of(&self, id: &str) -> Option<String> {
        // Numbers are compared first, because there may be 100,000 accounts.
        let number = usize::from_str_radix(id.rsplit('-').next()?, 16).ok()?;
        let world = self.world();
        let mut accounts = world.accounts.iter();
        let (address, account) = accounts.find(|(_, account)| account.id == number)?;
        (self.id(account) == id).then(|| address.clone())
    }
}
