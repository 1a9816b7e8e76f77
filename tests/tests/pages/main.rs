//! What the pages of `docs/`, the files in `contrib/` and the template show works as they say.

mod blocks;
mod configurations;
mod contrib;
mod howto;
mod start;
mod template;
