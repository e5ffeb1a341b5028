//! What came in lately
