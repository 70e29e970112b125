/** Snapshot archives: the state of a cluster in one file. */
export { ARCHIVE_VERSION, ArchiveError, type ArchiveMeta, sizeOf } from "./layout.js";
export { readArchive } from "./read.js";
export { writeArchive } from "./write.js";
