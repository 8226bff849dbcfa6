//! The payment logic: pure processors, one file each.
