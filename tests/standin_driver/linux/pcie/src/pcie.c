// SPDX-License-Identifier: GPL-2.0
/*
 * Stand-in for an accelerator's driver: a module that really compiles, with the real one's name, version, parameters
 * and PCI id, so that modinfo, depmod and modprobe.d treat it as they would the real one. It claims no device.
 */
#include <linux/module.h>
#include <linux/pci.h>

static int o_dbg;
static bool no_power_mode, support_soft_reset, force_hailo10h_legacy_mode;
static int force_desc_page_size;

module_param(o_dbg, int, 0644);
module_param(no_power_mode, bool, 0444);
module_param(force_desc_page_size, int, 0444);
module_param(force_hailo10h_legacy_mode, bool, 0444);
module_param(support_soft_reset, bool, 0444);

static int stand_in_probe(struct pci_dev *device, const struct pci_device_id *id)
{{
	return -ENODEV;
}}

static const struct pci_device_id stand_in_ids[] = {{ {{ PCI_DEVICE(0x1e60, {device}) }}, {{ }} }};
MODULE_DEVICE_TABLE(pci, stand_in_ids);

static struct pci_driver stand_in_driver = {{
	.name = "{module}",
	.id_table = stand_in_ids,
	.probe = stand_in_probe,
}};
module_pci_driver(stand_in_driver);

MODULE_DESCRIPTION("stand-in of hatfleet's tests");
MODULE_LICENSE("GPL");
MODULE_VERSION("{version}");
