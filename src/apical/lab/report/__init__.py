"""The figures and the page of a comparison."""

from apical.lab.report._curves import PANELS as PANELS
from apical.lab.report._curves import draw_panel as draw_panel
from apical.lab.report._html import fragment as fragment
from apical.lab.report._report import draw_all as draw_all
from apical.lab.report._report import write_report as write_report
