use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

/// What the books do not allow. No message holds an amount, a name or a key.
#[derive(Debug, thiserror::Error)]
pub enum BillingError {
    #[error("a row of \"{table}\" that was issued cannot be changed or deleted")]
    Issued { table: String },
    #[error("column \"{column}\" of \"{table}\" is written by the engine only")]
    Engine { table: String, column: String },
    #[error("a row of \"{table}\" begins as \"{open}\"")]
    Begins { table: String, open: String },
    #[error("the lines of an issued invoice cannot be changed")]
    IssuedLines,
    #[error("the number series of the invoice is not defined")]
    UnknownSeries,
    #[error("this needs the context of a tenant")]
    NoTenant,
    /// The same whether it is another tenant's or nobody's.
    #[error("there is no such {what} in this tenant")]
    NotFound { what: &'static str },
    #[error("{what} is not what it should be: {problem}")]
    Invalid { what: &'static str, problem: &'static str },
    #[error("an invoice without lines cannot be issued")]
    NoLines,
    #[error("rates were applied to the invoice, and a line does not have the taxes of its category")]
    LineTaxes,
    #[error("an invoice with this status cannot be {verb}")]
    InvoiceStatus { verb: &'static str },
    #[error("an invoice with payments or credit notes cannot be voided")]
    VoidPaid,
    #[error("more would be credited than was sold")]
    OverCredited,
    #[error("a payment with this status cannot be {verb}")]
    PaymentStatus { verb: &'static str },
    #[error("allocations would exceed what is owed on the invoice")]
    Overpaid,
    #[error("allocations would exceed what the payment captured and did not pay back")]
    Overallocated,
    #[error("more would be taken away than this payment paid of the invoice")]
    NotAllocated,
    #[error("payment and invoice are of different currencies")]
    Currency,
    #[error("refunds would exceed what the payment captured")]
    OverRefunded,
    #[error("permission denied: the refund is not within the approval limit")]
    ApprovalLimit,
    #[error("the idempotency key was used for another request")]
    IdempotencyKey,
    #[error("another transaction allocated this payment meanwhile")]
    Meanwhile,
    #[error("the cash session is closed")]
    SessionClosed,
    #[error("a payment or refund goes through a cash session only in cash")]
    NotCash,
    #[error("a refund takes cash out of a drawer only when its payment was put into one")]
    NotInDrawer,
    #[error("a drawer cannot hold less than nothing, or more than can be recorded")]
    DrawerAmount,
    #[error("tax jurisdictions cannot run in a circle")]
    Cycle,
    #[error("permission denied to look at the chain of another tenant")]
    OtherTenant,
}

impl SqlError for BillingError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Issued { .. } | Self::IssuedLines | Self::Begins { .. } | Self::SessionClosed => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::Engine { .. } | Self::ApprovalLimit | Self::OtherTenant => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::NoTenant => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::NotFound { .. } => PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
            Self::Invalid { .. } | Self::LineTaxes | Self::UnknownSeries | Self::IdempotencyKey | Self::NotCash => {
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE
            }
            Self::Meanwhile => PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            _ => PgSqlErrorCode::ERRCODE_CHECK_VIOLATION,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Issued { table } | Self::Engine { table, .. } if table == "invoices" => {
                "Write a credit note: SELECT shared.credit_invoice(...). Issuing and voiding are shared.issue_invoice() and shared.void_invoice()."
            }
            Self::IssuedLines => "Write a credit note: SELECT shared.credit_invoice(...).",
            Self::Issued { .. } => "What was recorded stays: record what corrects it.",
            Self::Engine { .. } => "Leave the column out.",
            Self::Begins { .. } => "INSERT it so; functions of schema shared do the rest.",
            Self::UnknownSeries => "INSERT INTO shared.number_series (series, prefix) ... first, with a prefix of its own, or use the series invoice.",
            Self::NoTenant => "SELECT thorbis.set_context(...) first.",
            Self::NotFound { .. } => "It belongs to the current tenant.",
            Self::Invalid { .. } => "The comment of the function says what it takes.",
            Self::LineTaxes => "SELECT shared.apply_invoice_taxes(...) again: lines changed after it. A line that is exempt has tax_exempt or exempt_from in its pricing.",
            Self::NoLines => "INSERT INTO shared.invoice_lines ... first.",
            Self::InvoiceStatus { .. } | Self::PaymentStatus { .. } => "shared.state_transitions has what follows what.",
            Self::VoidPaid => "Pay back first, or write a credit note: SELECT shared.credit_invoice(...).",
            Self::OverCredited => "shared.credit_note_lines has what was credited already.",
            Self::Overpaid => "Allocate what is owed: total less paid_total and credited_total.",
            Self::Overallocated => "Allocate what is left: amount less refunded_amount and allocated_total.",
            Self::NotAllocated => "shared.payment_allocations has what it paid.",
            Self::Currency => "Record a payment in the currency of the invoice.",
            Self::OverRefunded => "Pay back what is left: amount less refunded_amount, tip_amount less refunded_tip.",
            Self::ApprovalLimit => "Ask somebody whose role reaches further. The limit is on all that is paid back of one payment, in the currency of the tenant: another currency takes payments:admin.",
            Self::IdempotencyKey => "Use a new key for a new request.",
            Self::Meanwhile => "Try again.",
            Self::SessionClosed => "Open the drawer again: SELECT shared.open_cash_session(...).",
            Self::NotCash => "Leave cash_session_id out.",
            Self::NotInDrawer => "Leave cash_session_id out: the cash was never counted in a drawer.",
            Self::DrawerAmount => "shared.cash_movements has what went in and out. Record what went in first.",
            Self::Cycle => "Take away the parent that leads back first.",
            Self::OtherTenant => "Pass no tenant to verify one's own.",
        }
        .into()
    }
}
