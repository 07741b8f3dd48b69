"""The figures and the page of a comparison."""

from apical.lab._report._write import draw_all as draw_all
from apical.lab._report._write import write_report as write_report
