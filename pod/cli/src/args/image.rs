//! The commands of `rrun image`.

use super::Output;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct ImageList {
    /// Those alone that have this name: with a tag, or without one for all tags; or this id
    pub image: Option<String>,
    /// The ids alone, each once
    #[arg(short, long, conflicts_with = "output")]
    pub quiet: bool,
    /// With the digests that they were pulled by
    #[arg(long)]
    pub digests: bool,
    /// Whole ids
    #[arg(long)]
    pub no_trunc: bool,
    /// json: for programs, sizes in bytes
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

#[derive(clap::Args)]
pub struct Images {
    /// Names, digests or ids, or beginnings of ids
    #[arg(required = true)]
    pub images: Vec<String>,
}

#[derive(Subcommand)]
pub enum Image {
    /// List images, as rrun images does
    #[command(alias = "list")]
    Ls(ImageList),
    /// Print all that is known of images, as JSON
    Inspect(Images),
    /// Print the steps that an image was built in, the newest first
    History {
        /// A name, a digest or an id
        image: String,
        /// Commands of any length
        #[arg(long)]
        no_trunc: bool,
        /// json: for programs
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// Print what images take of the disk and what removing them would free
    Du {
        /// Layer by layer, of this image: a name, a digest or an id
        image: Option<String>,
        /// json: for programs, sizes in bytes
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<Output>,
    },
    /// Give an image other names
    Tag {
        /// A name, a digest or an id
        image: String,
        /// The names to give, for example web:test; an image that has one loses it
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Take names from images, which stay
    Untag {
        /// The names to take, for example web:test
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove images, as rrun rmi does
    #[command(alias = "remove")]
    Rm(Images),
    /// Remove the images without a name that no container, volume or pod on record uses
    Prune {
        /// Those with a name too
        #[arg(short, long)]
        all: bool,
    },
    /// Hash all that images are made of again, and fetch damaged layers anew
    Verify {
        /// Names or ids; default: all images
        images: Vec<String>,
        /// Tell what is damaged, and fetch nothing
        #[arg(long)]
        no_repair: bool,
    },
    /// Write images to a tar: an OCI image layout that docker load reads as well
    Export {
        /// Names or ids
        #[arg(required = true)]
        images: Vec<String>,
        /// The file, or - for standard output; with a / at its end a folder, which is made
        #[arg(short, long, value_name = "PATH", default_value = "-")]
        output: PathBuf,
    },
    /// Import an OCI image layout or an archive of docker save: a directory, or a tar file of one
    Import {
        /// The layout; - for standard input
        layout: PathBuf,
        /// The image's name, instead of the one in the layout
        name: Option<String>,
    },
}
