//! [`UnitState`]: what the manager says of a unit.

use std::collections::HashMap;
use std::time::Duration;

use zbus::{OwnedObjectPath, OwnedVariant, Variant};

/// A command as the manager tells it: its path, arguments, whether it may fail; when it began and
/// ended, by two clocks each; its process, and how that ended.
type Command = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

/// What the manager says of a unit, read anew each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitState {
    /// The unit's own name: another one's if ours is an alias.
    pub(crate) id: String,
    pub(crate) load: String,
    /// Why it is not loaded, in the manager's words.
    pub(crate) load_error: String,
    pub(crate) active: String,
    pub(crate) sub: String,
    pub(crate) file_state: String,
    pub(crate) fragment: String,
    pub(crate) needs_reload: bool,
    /// The job that is to be done or being done.
    pub(crate) job: Option<String>,
    /// Which of `RefuseManualStart` and `RefuseManualStop` is set.
    pub(crate) refuses: Option<&'static str>,
    pub(crate) invocation: String,
    /// When it became active, since the machine started.
    pub(crate) active_since: Duration,
    /// `Type=`, as the manager took it.
    pub(crate) kind: String,
    pub(crate) main_pid: u32,
    /// What this invocation has started so far, ended or not: the manager begins anew with each.
    pub(crate) started: Vec<u32>,
    pub(crate) restarts: u32,
    pub(crate) result: String,
    pub(crate) exit_status: i32,
}

impl UnitState {
    /// From all properties of the unit and the service.
    pub(crate) fn of(all: &HashMap<String, OwnedVariant>) -> Self {
        let text = |name: &str| {
            let value = all.get(name).and_then(|v| <&str>::try_from(v).ok());
            value.unwrap_or_default().to_owned()
        };
        let number = |name: &str| {
            let value = all.get(name).and_then(|v| u32::try_from(v).ok());
            value.unwrap_or(0)
        };
        let is = |name: &str| {
            let value = all.get(name).and_then(|v| bool::try_from(v).ok());
            value.unwrap_or(false)
        };
        let since = all
            .get("ActiveEnterTimestampMonotonic")
            .and_then(|v| u64::try_from(v).ok());
        let invocation: Vec<u8> = taken(all, "InvocationID").unwrap_or_default();
        let job: Option<(u32, OwnedObjectPath)> = taken(all, "Job");
        let load_error: Option<(String, String)> = taken(all, "LoadError");
        let commands = ["ExecStartPre", "ExecStart", "ExecStartPost"].into_iter();
        let commands =
            commands.flat_map(|name| taken::<Vec<Command>>(all, name).unwrap_or_default());
        let started = commands.map(|command| command.7).filter(|pid| *pid != 0);
        let refuses = ["RefuseManualStart", "RefuseManualStop"];
        Self {
            id: text("Id"),
            load: text("LoadState"),
            load_error: load_error.map(|(_, words)| words).unwrap_or_default(),
            active: text("ActiveState"),
            sub: text("SubState"),
            file_state: text("UnitFileState"),
            fragment: text("FragmentPath"),
            needs_reload: is("NeedDaemonReload"),
            job: job.filter(|(id, _)| *id != 0).map(|(_, p)| p.to_string()),
            refuses: refuses.into_iter().find(|name| is(name)),
            invocation: base16ct::lower::encode_string(&invocation),
            active_since: Duration::from_micros(since.unwrap_or(0)),
            kind: text("Type"),
            main_pid: number("MainPID"),
            started: started.collect(),
            restarts: number("NRestarts"),
            result: text("Result"),
            exit_status: all
                .get("ExecMainStatus")
                .and_then(|v| i32::try_from(v).ok())
                .unwrap_or_default(),
        }
    }

    /// Whether it is a oneshot that is at rest: one that has done its work, or has had none to do.
    /// The manager soon forgets which.
    pub(crate) fn rests(&self) -> bool {
        self.kind == "oneshot" && self.active == "inactive" && self.result == "success"
    }

    /// Whether it runs as it should.
    pub(crate) fn runs(&self) -> bool {
        self.active == "active" && matches!(self.sub.as_str(), "running" | "exited")
    }

    /// Why it does not run, in words.
    pub(crate) fn describe(&self) -> String {
        format!(
            "the unit is {} ({}), result {}, main process exit status {}",
            self.active, self.sub, self.result, self.exit_status
        )
    }
}

/// A property by its name, if it is there and is one of this type.
pub(crate) fn taken<T>(all: &HashMap<String, OwnedVariant>, name: &str) -> Option<T>
where
    T: TryFrom<Variant<'static>>,
{
    let value = all.get(name)?.try_clone().ok()?;
    T::try_from(value.into()).ok()
}
