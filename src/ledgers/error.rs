use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

/// Messages name the rule and no balance: who may move something may not read how much there is. No code of a card.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("no tenant context")]
    NoTenant,
    /// The same for one of another tenant: nobody learns whether there is one.
    #[error("no such {0} in this tenant")]
    Unknown(&'static str),
    #[error("{0} is a number above zero")]
    NotPositive(&'static str),
    #[error("{0} is not a number")]
    NotANumber(&'static str),
    #[error("stock cannot move from a place to itself")]
    SamePlace,
    #[error("a movement cannot have happened in the future")]
    InTheFuture,
    #[error("not enough stock: a balance cannot fall below what is reserved of it")]
    NotEnoughStock,
    #[error("a reservation holds stock of a place that has a balance")]
    NoBalance,
    #[error("the reservation cannot be used: it is closed, expired, too small, or of another item or place")]
    Reservation,
    #[error("the reservation is closed already")]
    ReservationClosed,
    #[error("a stock count with status {0} cannot be posted")]
    CountStatus(String),
    #[error("a posted stock count cannot be changed")]
    CountPosted,
    #[error("a stock count is posted by shared.post_stock_count() alone")]
    CountByFunction,
    #[error("the lines must be a JSON array of objects with the keys that the function documents")]
    Lines,
    #[error("not enough on the gift card")]
    NotEnoughOnCard,
    #[error("gift card activity {activity} is not possible in status {status}")]
    CardStatus { activity: String, status: String },
    #[error("a gift card with a balance cannot be deactivated")]
    CardNotEmpty,
    #[error("the amount has more decimal places than the currency of the tenant")]
    MinorUnit,
    #[error("the code of a gift card has 8 to 64 letters and digits")]
    CardCode,
    #[error("there is a gift card with this code already")]
    CardExists,
    #[error("not enough points")]
    NotEnoughPoints,
    #[error("entries of type {0} are written by the functions of the ledger alone")]
    EngineOnly(String),
    #[error("more points would be taken back than were earned")]
    ReversesMore,
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error("the request with this idempotency key is gone: it was rolled back meanwhile")]
    KeyGone,
    #[error("a row of a ledger was left out by another trigger")]
    RowLeftOut,
    #[error("table \"{0}\" is missing")]
    NoTable(&'static str),
}

impl SqlError for LedgerError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NoTenant => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::Unknown(_) => PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
            Self::NotPositive(_)
            | Self::NotANumber(_)
            | Self::SamePlace
            | Self::InTheFuture
            | Self::Lines
            | Self::MinorUnit
            | Self::CardCode
            | Self::NoBalance
            | Self::KeyReused => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NotEnoughStock
            | Self::NotEnoughOnCard
            | Self::NotEnoughPoints
            | Self::ReversesMore
            | Self::Reservation
            | Self::CardStatus { .. }
            | Self::CardNotEmpty => PgSqlErrorCode::ERRCODE_CHECK_VIOLATION,
            Self::ReservationClosed | Self::CountStatus(_) | Self::CountPosted => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::EngineOnly(_) | Self::CountByFunction => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::CardExists => PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
            Self::KeyGone => PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            Self::RowLeftOut => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::NoTable(_) => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoTenant => "BEGIN; SELECT thorbis.set_context(tenant_id, user_id); ...; COMMIT.",
            Self::Unknown(_) => "Pass the id of one that exists in the tenant of the context.",
            Self::NotPositive(_) => "Pass a number above zero; what goes back goes in the other direction.",
            Self::NotANumber(_) => "Pass a number: NaN and infinity are none.",
            Self::SamePlace => "Name another place: supplier, customer, waste and adjustment are places too.",
            Self::InTheFuture => "Leave occurred_at out, or correct the clock of the device.",
            Self::NotEnoughStock => "Receive or count first, or release reservations.",
            Self::NoBalance => "Reserve at a place of kind storage or in_transit.",
            Self::Reservation => "Leave stock_reservation_id out, or reserve again.",
            Self::ReservationClosed => "Nothing is left to release.",
            Self::CountStatus(_) => "A count is posted once, after it was counted.",
            Self::CountPosted => "Count again: a new count corrects the balances from its moment on.",
            Self::CountByFunction => "SELECT shared.post_stock_count(id).",
            Self::Lines => "The comment on the function lists the keys.",
            Self::NotEnoughOnCard => "Redeem what is on it and take the rest by other means.",
            Self::CardStatus { .. } => {
                "Only an active card moves money. shared.state_transitions lists what follows what."
            }
            Self::CardNotEmpty => "Clear its balance first.",
            Self::MinorUnit => "Round it to the tenant's minor_unit first.",
            Self::CardCode => "Spaces and hyphens do not count, nor does the case of letters.",
            Self::CardExists => "Make another code.",
            Self::NotEnoughPoints => "Points that have expired cannot be spent.",
            Self::EngineOnly(_) => "Call the function of the ledger.",
            Self::ReversesMore => "Take back what is left of the entry.",
            Self::KeyReused => "A key belongs to one request: make a new one, or repeat the request as it was.",
            Self::KeyGone => "Repeat the request.",
            Self::RowLeftOut => "Triggers on the table of a ledger must return the row they are given.",
            Self::NoTable(_) => "SELECT thorbis.install();",
        }
        .into()
    }
}
