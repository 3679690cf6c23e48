"""What results are measured by: lesions, regions, overlap, image quality, agreement of an ensemble."""
