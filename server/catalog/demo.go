package catalog

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/shopkeeper-dev/shopkeeper/server/database"
	"github.com/shopkeeper-dev/shopkeeper/server/money"
)

type demoCategory struct {
	name, description string
	products          []demoProduct
}

type demoProduct struct {
	name        string
	price       money.Amount
	stock       int64
	image       string
	featured    bool
	description string
}

// SeedDemo fills an empty catalogue with products to try the shop with, and returns how many it added: none
// where there is any category already. Processes that seed at once take turns.
func (s *Catalog) SeedDemo(ctx context.Context) (added int, err error) {
	err = s.change(ctx, func(tx *gorm.DB) error {
		if err := lockCategories(tx); err != nil {
			return err
		}
		var present int64
		if err := tx.Table("categories").Count(&present).Error; err != nil || present > 0 {
			return err
		}
		added, err = insertDemo(tx)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("fill the demo catalogue: %w", err)
	}
	return added, nil
}

// insertDemo dates each product a minute before the one ahead of it, so that newest first is the order below.
func insertDemo(tx *gorm.DB) (added int, err error) {
	now := database.Now()
	for _, demo := range demoCatalogue {
		c := category{Name: demo.name, NameKey: fold(demo.name), Slug: slugOf(demo.name), Description: demo.description}
		if err := tx.Create(&c).Error; err != nil {
			return 0, err
		}
		var products []product
		for _, p := range demo.products {
			made := now.Add(-time.Duration(added) * time.Minute)
			products = append(products, product{
				Name: p.name, Description: p.description, PriceCents: p.price, Stock: p.stock, CategoryID: c.ID,
				Image: p.image, Featured: p.featured, SearchText: searchText(p.name, p.description),
				CreatedAt: made, UpdatedAt: made,
			})
			added++
		}
		if err := tx.Create(&products).Error; err != nil {
			return 0, err
		}
	}
	return added, nil
}

var demoCatalogue = []demoCategory{
	{"Electronics", "Phones, computers, sound and light.", []demoProduct{
		{"Smartphone Pro Max", 99999, 50, "https://example.com/image.jpg", true, "A 6.7-inch phone with three cameras and two days of battery."},
		{"Smartphone Mini", 59900, 34, "https://example.com/smartphone-mini.jpg", false, "A phone that fits a shirt pocket, with the camera of a large one."},
		{"Wireless Headphones", 24950, 80, "https://example.com/wireless-headphones.jpg", true, "Over-ear headphones that keep a train compartment out for 30 hours."},
		{"Bluetooth Speaker", 7995, 120, "https://example.com/bluetooth-speaker.jpg", false, "Fills a kitchen with sound and survives a fall into the sink."},
		{"Laptop 14", 129900, 18, "https://example.com/laptop-14.jpg", true, "A 14-inch laptop of 1.2 kg with 16 GB of memory and a quiet fan."},
		{"E-Reader", 13900, 45, "https://example.com/e-reader.jpg", false, "A paper-like screen with a warm light for reading at night."},
		{"USB-C Charger 65 W", 3990, 200, "https://example.com/usb-c-charger.jpg", false, "Charges a laptop and a phone from one socket."},
		{"Smart Watch", 19900, 0, "https://example.com/smart-watch.jpg", false, "Counts steps, sleep and heartbeats; back in stock soon."},
	}},
	{"Books", "To learn from and to get lost in.", []demoProduct{
		{"The Lighthouse Keeper's Atlas", 2490, 60, "https://example.com/lighthouse-atlas.jpg", true, "A novel in forty maps of one small island."},
		{"Bread for Beginners", 1995, 75, "https://example.com/bread-for-beginners.jpg", false, "Twelve loaves, from the simplest to sourdough, with every step shown."},
		{"A Field Guide to Clouds", 1650, 40, "https://example.com/field-guide-clouds.jpg", false, "How to tell tomorrow's weather from a window."},
		{"Distributed Systems by Example", 4900, 25, "https://example.com/distributed-systems.jpg", false, "Clocks, queues and quorums, explained by building them."},
		{"Letters from the Night Train", 1495, 33, "https://example.com/night-train.jpg", false, "Short stories that each end at a station."},
		{"The Pocket Gardener", 1250, 90, "https://example.com/pocket-gardener.jpg", false, "What to sow, cut and pick in every week of the year."},
	}},
	{"Home & Kitchen", "Things used every day.", []demoProduct{
		{"Cast Iron Pan", 4450, 55, "https://example.com/cast-iron-pan.jpg", true, "A 26 cm pan for a lifetime of breakfasts."},
		{"Pour-Over Coffee Set", 3490, 48, "https://example.com/pour-over-set.jpg", false, "A glass jug, a dripper and forty filters."},
		{"Linen Bedding", 11900, 22, "https://example.com/linen-bedding.jpg", false, "A stone-washed duvet cover and two pillowcases, cool in summer."},
		{"Desk Lamp", 5900, 64, "https://example.com/desk-lamp.jpg", false, "A dimmable lamp on an arm that stays where it is put."},
		{"Chef's Knife", 8900, 30, "https://example.com/chefs-knife.jpg", false, "A 20 cm blade of carbon steel with an oak handle."},
		{"Storage Jars", 2750, 110, "https://example.com/storage-jars.jpg", false, "Six airtight glass jars in three sizes."},
	}},
	{"Sports & Outdoors", "For fresh air in any weather.", []demoProduct{
		{"Trail Running Shoes", 12900, 42, "https://example.com/trail-shoes.jpg", true, "Light shoes that hold on wet rock."},
		{"Two-Person Tent", 21900, 15, "https://example.com/two-person-tent.jpg", false, "Stands in four minutes, weighs 1.9 kg and stays dry."},
		{"Yoga Mat", 3900, 130, "https://example.com/yoga-mat.jpg", false, "A mat of natural rubber, 5 mm thick."},
		{"Insulated Bottle", 2490, 150, "https://example.com/insulated-bottle.jpg", false, "Keeps tea hot for twelve hours, or water cold for a day."},
		{"Bicycle Lights", 3250, 0, "https://example.com/bicycle-lights.jpg", false, "A front and a rear light, charged by USB."},
	}},
}
