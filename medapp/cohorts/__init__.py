"""Cohorts: a method on every person of a study, written as BIDS derivatives, and the study as a group.

     BIDS study, CSV, folder ──► Case ──► run_case, in worker processes ──► derivatives, record ──► group
        bids_study, path_list             cluster, batch    case_run          derivative_files     group_report

A case is done when its record says so, which is written last (`case_record`). What needs the packages of
requirements-cohort.txt is imported when the command runs, so that the rest of the app works without them.
"""
