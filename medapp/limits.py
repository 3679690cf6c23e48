"""The limits of what is taken, all in one place. Whoever serves the page to fewer or to more may change them here."""

MAX_UPLOAD_BYTES = 2 * 1024**3  # of one upload, unpacked
MAX_UPLOAD_FILES = 20_000  # of one upload, or in one zip
MAX_ZIP_DIRECTORY_BYTES = 8 * 1024**2  # bytes of a zip's table of contents
MAX_COMPRESSION_RATIO = 200  # unpacked to packed, for what unpacks to more than FREE; an empty mask packs 1000 times
RATIO_CHECK_BYTES = 256 * 1024**2
TRAILING_BYTES = 1024**2  # bytes that may follow the voxels in a gzip file
MAX_VOXELS = 200_000_000  # 512 × 512 × 760
MAX_AXIS_VOXELS = 32_767  # voxels along one axis
MAX_SLICES = 4_096  # frames of a DICOM series, pages of a TIFF
MAX_SERIES = 200  # DICOM series to choose from
MAX_VOXEL_OFFSET = 16 * 1024**2  # bytes of a NIfTI header and its extensions
MAX_TEXT_HEADER_BYTES = 256 * 1024  # bytes in which a text header must end
MAX_VOXEL_VALUE = 1e20  # of a voxel; squares of larger ones are no numbers any more
MIN_VOXEL_MM, MAX_VOXEL_MM = 1e-5, 1e3  # size of a voxel
MAX_ORIGIN_MM = 1e5  # mm from the scanner's origin
MAX_READ_SECONDS = 180  # to read one upload; looked at between files, slices and megabytes
