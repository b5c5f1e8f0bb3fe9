//! What a replay finds: a check, a place and a fault.

use core::fmt;

use crate::leaf::MAX_SEQ;
use crate::words::words;

words! {
    /// The checks of a replay.
    pub enum Check : as_str {
        /// The rows of each lane follow one another.
        Chain = "chain",
        /// The rows are those that were sealed, in batches and seals that agree.
        Seals = "seals",
        /// The tree is the one that its leaves make.
        Tree = "tree",
        /// What was anchored is the tree, or was.
        Anchors = "anchors",
        /// No moment lies before one that was earlier.
        Clock = "clock",
        /// Rows do not stay unsealed.
        Unsealed = "unsealed",
    }
}

/// One thing that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What.
    pub fault: Fault,
}

/// Where something does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A row, by its access id.
    Row(i64),
    /// A cut.
    Cut(u64),
    /// The head of a lane in a cut.
    Head {
        /// The cut.
        cut: u64,
        /// The lane.
        lane: u32,
    },
    /// A batch.
    Batch(u64),
    /// A tile of a batch.
    Tile {
        /// The batch.
        batch: u64,
        /// Its level.
        level: u8,
        /// Its place there.
        tile: u64,
    },
    /// A leaf of the tree.
    Leaf(u64),
    /// A node of the tree.
    Node {
        /// Its level.
        level: u8,
        /// Its place there.
        index: u64,
    },
    /// An anchor, by its number.
    Anchor(i64),
}

macro_rules! faults {
    ($( $(#[$doc:meta])* $fault:ident : $check:ident = $text:literal, )+) => {
        /// What does not fit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault {
            /// Rows are missing before this one, from `expected` on.
            Gap {
                /// The sequence number that should have come.
                expected: u64,
            },
            $( $(#[$doc])* $fault, )+
        }

        impl Fault {
            /// The check that finds it.
            #[must_use]
            pub const fn check(self) -> Check {
                match self { Self::Gap { .. } => Check::Chain, $( Self::$fault => Check::$check, )+ }
            }

            const fn text(self) -> &'static str {
                match self { Self::Gap { .. } => "gap", $( Self::$fault => $text, )+ }
            }
        }
    };
}

faults! {
    /// A place in the lane that is taken already.
    Fork: Chain = "fork",
    /// The MAC does not follow from the columns and the row before.
    Altered: Chain = "altered",
    /// The chain key is not there.
    NoKey: Chain = "chained with a key that is not there",
    /// A row that is not what was sealed.
    NotSealed: Seals = "altered: another row was sealed",
    /// A row that was sealed is not in the log.
    Missing: Seals = "missing: it was sealed and is not in the log",
    /// A row in a sealed range that no seal holds.
    Foreign: Seals = "foreign: it stands among sealed rows, and was not sealed",
    /// The sealed MAC of a lane's head is not that of the row.
    OtherHead: Seals = "the sealed head is another row's",
    /// Rows before a sealed head are missing, the head among them.
    HeadMissing: Seals = "missing: the lane ends before its sealed head",
    /// A lane that goes back from one cut to the next, or stands twice in one.
    HeadGoesBack: Seals = "the sealed head does not lie beyond the one before it",
    /// Cuts are missing before this one.
    CutsMissing: Seals = "missing: cuts before it are not there",
    /// A cut without a seal, or without the heads it went to.
    CutIncomplete: Seals = "missing: its heads or its seals are not there",
    /// Batches are missing before this one, or it comes twice.
    BatchOrder: Seals = "its number does not follow from the one before it",
    /// Rows of a batch were removed or added in the tiles.
    BatchRows: Seals = "altered: it does not hold as many rows as its seal says",
    /// The tiles do not make the batch's root.
    BatchRoot: Seals = "altered: its root is not that of its tiles",
    /// A tile that is not what those below it make, or not full.
    Tile: Seals = "altered: it is not what the rows below it make",
    /// A tile that should be there.
    TileMissing: Seals = "missing",
    /// More tiles than the batch has.
    TileForeign: Seals = "foreign: tiles that do not belong to it",
    /// The text of a seal leaf cannot be read.
    SealText: Seals = "altered: its leaf is none",
    /// The text of a seal leaf says something else than the tables.
    Seal: Seals = "altered: its leaf says something else than what was sealed",
    /// The leaf of a seal cannot be hashed.
    SealKey: Seals = "its leaf is salted with a key that is not there",
    /// The leaf of a seal is not where it says.
    SealPlace: Tree = "its leaf does not stand where it should",
    /// The tree's leaf is not the hash of what it is of.
    LeafHash: Tree = "altered: it is not the hash of its seal",
    /// The tree does not say what this leaf is.
    LeafMissing: Tree = "missing",
    /// A leaf that no cut made.
    LeafForeign: Tree = "foreign: no cut made it",
    /// A node that is not made of the two below it.
    Node: Tree = "altered: it is not made of those below it",
    /// A node that should be there.
    NodeMissing: Tree = "missing",
    /// A node beyond the tree.
    NodeForeign: Tree = "foreign: it lies beyond the tree",
    /// The tree is shorter than what was anchored.
    RolledBack: Anchors = "the tree is shorter than what was anchored",
    /// The tree had another root at that size.
    AnchorRoot: Anchors = "the tree is another than the one anchored",
    /// The checkpoint says something else than the row beside it.
    AnchorText: Anchors = "altered: its checkpoint says something else, or is of another log",
    /// A later anchor of a smaller tree.
    AnchorOrder: Anchors = "a later anchor covers a smaller tree",
    /// A row's moment lies before that of the row before it.
    RowGoesBack: Clock = "the clock went back: its moment lies before that of the row before it",
    /// A row's moment lies after that of its seal.
    AfterSeal: Clock = "its moment lies after that of its seal",
    /// A seal's moment lies before that of the one before it.
    SealGoesBack: Clock = "the clock went back: it was sealed before the one before it",
    /// The oldest row that is not sealed.
    Unsealed: Unsealed = "not sealed for longer than an hour",
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.fault.text())?;
        match (self.fault, self.place) {
            (Fault::Gap { expected }, Place::Row(access_id)) => {
                let found = seq(access_id);
                write!(out, ", expected seq {expected}, found {found}")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Row(id) => {
                let (lane, seq) = (id >> 48, seq(id));
                write!(out, "lane {lane} seq {seq} (access_id {id})")
            }
            Self::Cut(cut) => write!(out, "cut {cut}"),
            Self::Head { cut, lane } => write!(out, "cut {cut} lane {lane}"),
            Self::Batch(batch) => write!(out, "batch {batch}"),
            Self::Tile { batch, level, tile } => {
                write!(out, "batch {batch} level {level} tile {tile}")
            }
            Self::Leaf(index) => write!(out, "leaf {index}"),
            Self::Node { level, index } => write!(out, "node {index} of level {level}"),
            Self::Anchor(id) => write!(out, "anchor {id}"),
        }
    }
}

/// The sequence number in an access id.
pub(super) const fn seq(access_id: i64) -> u64 {
    access_id.cast_unsigned() & MAX_SEQ
}
