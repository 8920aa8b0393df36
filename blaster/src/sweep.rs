//! The shell of a sweep: runs the trials that the search asks for, keeps each as soon as it is done, and shows what they came to.

pub mod journal;
pub mod live;
pub mod trial;
pub mod view;
