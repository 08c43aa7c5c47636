//! What goes wrong, and when.

/// How a call goes wrong.
#[derive(Debug, Clone)]
pub(crate) enum How {
    /// It is refused with a status and a code, and nothing happens.
    Refused(u16, &'static str),
    /// It happens, and the connection is closed without an answer.
    ReplyLost,
    /// The connection is closed without an answer, and nothing happens.
    Dropped,
    /// It happens, and no answer ever comes.
    Hangs,
    /// It happens, and the answer is not XML.
    Garbage,
}

/// A fault of some calls of one action.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(super) action: &'static str,
    skip: u32,
    times: u32,
    how: How,
}

impl Fault {
    /// The next call of `action` goes wrong.
    pub(crate) fn next(action: &'static str, how: How) -> Self {
        Self { action, skip: 0, times: 1, how }
    }

    /// So do as many in a row.
    pub(crate) fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// After as many that go well.
    pub(crate) fn after(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// Throttling.
    pub(crate) fn throttled(action: &'static str) -> Self {
        Self::next(action, How::Refused(503, "RequestLimitExceeded"))
    }
}

/// How the call of an action that has just come in goes wrong, if it does.
pub(super) fn strike(faults: &mut Vec<Fault>, action: &str) -> Option<How> {
    let at = faults.iter().position(|fault| fault.action == action)?;
    let fault = &mut faults[at];
    if fault.skip > 0 {
        fault.skip -= 1;
        return None;
    }
    fault.times = fault.times.saturating_sub(1);
    let how = fault.how.clone();
    if fault.times == 0 {
        faults.remove(at);
    }
    Some(how)
}
