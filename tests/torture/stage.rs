//! What is tortured: one instance on a file, or several on one PostgreSQL.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::instances::Instances;
use super::people::People;
use super::proxy::Fault;
use super::service::Config;
use super::slapd::Slapd;
use super::stand_in::StandIn;
use super::world::World;

/// Longer than an instance that says nothing counts as alive.
const TOO_LONG: Duration = Duration::from_secs(8);

/// Notes each writer of a resume point who is not the instance that listens. Only a listener writes one.
const WATCH: &str = "
    create table public.stale (name text);
    grant insert on public.stale to usher;
    create function public.watch() returns trigger language plpgsql as $$ begin
        if exists (select 1 from ldap_usher.lease l join ldap_usher.instance i on i.id = l.holder
                   where l.name = 'directory main' and i.name <> current_setting('application_name')) then
            insert into public.stale values (current_setting('application_name'));
        end if;
        return new;
    end $$;
    create trigger watch after update of cursor on ldap_usher.directory for each row execute function public.watch();";

/// The instances and what is around them.
pub struct Stage {
    kind: Kind,
    /// What instances printed in the runs that are over.
    pub output: String,
}

enum Kind {
    One(Box<World>),
    Several(Box<Instances>),
}

impl Stage {
    /// Starts so many instances with these tables in their configuration.
    pub async fn with(instances: usize, tables: &str) -> Self {
        let kind = if instances == 1 {
            let mut world = World::with(Slapd::builder()).await.tables(tables);
            world.start_only();
            Kind::One(Box::new(world))
        } else {
            let mut several = Instances::with(instances, Slapd::builder()).await;
            several.tables = tables.to_owned();
            several.start(0);
            several.says(0, "listing ended", 1).await;
            several.postgres.sql(WATCH).await;
            for n in 1..instances {
                several.start(n);
            }
            Kind::Several(Box::new(several))
        };
        Self {
            kind,
            output: String::new(),
        }
    }

    pub fn people(&self) -> People {
        match &self.kind {
            Kind::One(world) => world.people(),
            Kind::Several(several) => several.people(),
        }
    }

    pub fn vault(&self) -> &StandIn {
        match &self.kind {
            Kind::One(world) => &world.vault,
            Kind::Several(several) => &several.vault,
        }
    }

    pub fn vault_mut(&mut self) -> &mut StandIn {
        match &mut self.kind {
            Kind::One(world) => &mut world.vault,
            Kind::Several(several) => &mut several.vault,
        }
    }

    pub fn server(&mut self) -> &mut Slapd {
        match &mut self.kind {
            Kind::One(world) => &mut world.server,
            Kind::Several(several) => &mut several.server,
        }
    }

    /// Does something bad to an instance or its database, and says what.
    pub async fn hurt(&mut self, jitter: &mut StdRng) -> &'static str {
        let pause = Duration::from_millis(jitter.gen_range(0..500));
        let several = match &mut self.kind {
            Kind::One(world) => {
                self.output += &(world.service().output() + "\n");
                world.kill9().await;
                sleep(pause).await;
                world.start_only();
                return "kills of the service";
            }
            Kind::Several(several) => several,
        };
        let n = jitter.gen_range(0..several.ways.len());
        match jitter.gen_range(0..6) {
            0 | 1 => {
                self.output += &(several.kill9(n).await + "\n");
                sleep(pause).await;
                several.start(n);
                "kills of an instance"
            }
            2 => {
                self.output += &(several.stop(n).await + "\n");
                sleep(pause).await;
                several.start(n);
                "planned stops of an instance"
            }
            3 => {
                several.service(n).signal("STOP").await;
                sleep(TOO_LONG + pause).await;
                several.service(n).signal("CONT").await;
                "pauses longer than a lease"
            }
            4 => {
                several.ways[n].set(Fault::BlackHole);
                sleep(TOO_LONG + pause).await;
                several.ways[n].set(Fault::None);
                "silent networks"
            }
            _ => {
                several.ways[n].set(Fault::Cut);
                sleep(pause).await;
                several.ways[n].set(Fault::None);
                "broken connections to the database"
            }
        }
    }

    /// Ends all faults.
    pub async fn heal(&mut self) {
        self.vault().heal();
        if let Kind::Several(several) = &self.kind {
            for way in &several.ways {
                way.set(Fault::None);
            }
        }
    }

    /// Approves what is held.
    pub async fn approve_all(&self) {
        let approve = ["approve", "--all", "--yes"];
        match &self.kind {
            Kind::One(world) => drop(world.ask(&approve).await),
            Kind::Several(several) => drop(Config::new(&several.config(0)).ask(&approve).await),
        }
    }

    /// Keeps what the running instances have printed.
    pub fn keep_output(&mut self) {
        match &self.kind {
            Kind::One(world) => self.output += &(world.service().output() + "\n"),
            Kind::Several(several) => {
                for n in 0..several.ways.len() {
                    self.output += &format!("usher-{n}:\n{}\n", several.service(n).output());
                }
            }
        }
    }

    /// An instance that wrote while another one listened.
    pub async fn stale_writer(&self) -> Option<String> {
        match &self.kind {
            Kind::One(_) => None,
            Kind::Several(several) => several.postgres.sql("select name from public.stale").await.pop(),
        }
    }
}
