# shellcheck shell=sh
# Written by hatfleet (role accelerator): HailoRT would write a log file into the working directory.
export HAILORT_LOGGER_PATH=NONE
