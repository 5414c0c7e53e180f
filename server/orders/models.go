package orders

import (
	"time"

	"github.com/shopkeeper-dev/shopkeeper/server/catalog"
	"github.com/shopkeeper-dev/shopkeeper/server/httpapi"
	"github.com/shopkeeper-dev/shopkeeper/server/money"
)

// order is a row of the table orders.
type order struct {
	ID              int64
	UserID          int64
	Status          string
	TotalCents      money.Amount
	ShippingAddress string
	PhoneNumber     string
	Notes           string
	CreatedAt       time.Time
	UpdatedAt       time.Time
}

// orderItem is a row of the table order_items: a product as it was sold.
type orderItem struct {
	ID           int64
	OrderID      int64
	ProductID    int64
	ProductName  string
	CategoryName string
	PriceCents   money.Amount
	Quantity     int64
}

// orderStep is a row of the table order_history.
type orderStep struct {
	ID      int64
	OrderID int64
	Status  string
	At      time.Time
	ByUser  int64
}

// TableName is not the plural of the type's name.
func (orderStep) TableName() string { return "order_history" }

// orderView is an order as its customer and staff see it.
type orderView struct {
	ID              int64        `json:"id"`
	Status          string       `json:"status"`
	Items           []itemView   `json:"items"`
	TotalAmount     money.Amount `json:"total_amount"`
	ShippingAddress string       `json:"shipping_address"`
	PhoneNumber     string       `json:"phone_number"`
	Notes           string       `json:"notes"`
	CreatedAt       httpapi.Time `json:"created_at"`
	UpdatedAt       httpapi.Time `json:"updated_at"`
	History         []stepView   `json:"history"`
}

type itemView struct {
	ID         int64           `json:"id"`
	Product    catalog.Summary `json:"product"`
	Quantity   int64           `json:"quantity"`
	Price      money.Amount    `json:"price"`
	TotalPrice money.Total     `json:"total_price"`
}

type stepView struct {
	Status string       `json:"status"`
	At     httpapi.Time `json:"at"`
	By     int64        `json:"by"` // a user's id
}

func viewOf(o order, items []orderItem, history []orderStep) orderView {
	view := orderView{
		ID: o.ID, Status: o.Status, Items: make([]itemView, 0, len(items)), TotalAmount: o.TotalCents,
		ShippingAddress: o.ShippingAddress, PhoneNumber: o.PhoneNumber, Notes: o.Notes,
		CreatedAt: httpapi.Time(o.CreatedAt), UpdatedAt: httpapi.Time(o.UpdatedAt),
		History: make([]stepView, 0, len(history)),
	}
	for _, i := range items {
		view.Items = append(view.Items, itemView{
			ID:       i.ID,
			Product:  catalog.Summary{ID: i.ProductID, Name: i.ProductName, Price: i.PriceCents, CategoryName: i.CategoryName},
			Quantity: i.Quantity, Price: i.PriceCents, TotalPrice: money.Total{}.Plus(i.PriceCents, i.Quantity),
		})
	}
	for _, step := range history {
		view.History = append(view.History, stepView{Status: step.Status, At: httpapi.Time(step.At), By: step.ByUser})
	}
	return view
}

// orderNotification is the frame that tells a customer of a new order.
type orderNotification struct {
	Type    string `json:"type"`
	OrderID int64  `json:"order_id"`
	Message string `json:"message"`
}

// orderStatusUpdate is the frame that tells a customer how an order goes on.
type orderStatusUpdate struct {
	Type      string `json:"type"`
	OrderID   int64  `json:"order_id"`
	OldStatus string `json:"old_status"`
	NewStatus string `json:"new_status"`
	Message   string `json:"message"`
}
