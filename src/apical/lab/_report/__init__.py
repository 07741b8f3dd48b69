"""The figures and the page of a comparison."""

from apical.lab._report._curves import PANELS as PANELS
from apical.lab._report._curves import draw_panel as draw_panel
from apical.lab._report._page import fragment as fragment
from apical.lab._report._write import draw_all as draw_all
from apical.lab._report._write import write_report as write_report
