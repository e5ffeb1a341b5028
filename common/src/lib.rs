//! The language of Linktide: clicks, ids, buckets, sketch, enrichment, the log port
