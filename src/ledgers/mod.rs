//! Stock, points, gift cards: balances that follow their movements.
