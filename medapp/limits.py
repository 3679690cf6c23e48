"""Limits on what is read, all in one place. Change them here to serve the page to fewer or to more people."""

MAX_UPLOAD_BYTES = 2 * 1024**3  # of one upload, unpacked
MAX_UPLOAD_FILES = 20_000  # in one upload, or in one zip
MAX_ZIP_DIRECTORY_BYTES = 8 * 1024**2  # the table of contents of a zip
MAX_COMPRESSION_RATIO = 200  # unpacked to packed, above RATIO_CHECK_BYTES; an empty mask is packed 1000 times smaller
RATIO_CHECK_BYTES = 256 * 1024**2  # what unpacks to less is not checked for its ratio
TRAILING_BYTES = 1024**2  # that may follow the voxels in a gzip file
MAX_VOXELS = 200_000_000  # 512 × 512 × 760
MAX_AXIS_VOXELS = 32_767  # along one axis
MAX_SLICES = 4_096  # frames of a DICOM series, pages of a TIFF
MAX_SERIES = 200  # DICOM series to choose from
MAX_VOXEL_OFFSET = 16 * 1024**2  # bytes of a NIfTI header and its extensions
MAX_TEXT_HEADER_BYTES = 256 * 1024  # within which an NRRD or MetaImage header must end
MAX_VOXEL_VALUE = 1e20  # squares of larger values overflow
MIN_VOXEL_MM, MAX_VOXEL_MM = 1e-5, 1e3  # size of a voxel
MAX_ORIGIN_MM = 1e5  # distance from the scanner's origin
MAX_READ_SECONDS = 180  # for one upload; checked between files, slices and megabytes
